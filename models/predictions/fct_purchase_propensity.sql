-- A robot is scored with the rest, but nobody writes to it.
with

predictions as (
    select * from {{ source('ml', 'purchase_predictions') }}
),

robots as (
    select user_id from {{ ref('moments') }}
    where cutoff = 0 and is_robot
),

final as (
    select
        predictions.user_id,
        predictions.cutoff_at,
        {{ hours_after('predictions.cutoff_at', var('horizon_hours')) }} as window_end_at,
        predictions.batch_id,
        predictions.purchase_probability,
        predictions.rank,
        predictions.decile,
        predictions.is_targeted and robots.user_id is null as is_targeted,
        predictions.is_held_out
    from predictions
    left join robots on predictions.user_id = robots.user_id
)

select * from final
