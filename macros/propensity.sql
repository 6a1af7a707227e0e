{#- The scored shoppers of a horizon. A robot is scored with the rest, but nobody writes to it. -#}
{% macro propensity(scores, days) -%}
with

predictions as (
    select * from {{ source('ml', scores) }}
),

robots as (
    select user_id from {{ ref('moments') }}
    where cutoff = 0 and is_robot
),

final as (
    select
        predictions.user_id,
        predictions.cutoff_at,
        predictions.cutoff_at + interval '{{ days }} days' as window_end_at,
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
{%- endmacro %}
