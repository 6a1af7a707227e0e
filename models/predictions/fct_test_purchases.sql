-- What the model predicted for each day of the test, and who bought on it.
with

predictions as (
    select * from {{ source('ml', 'purchase_test_predictions') }}
),

examples as (
    select
        user_id,
        cutoff_at,
        label
    from {{ ref('purchase_examples') }}
    where horizon_days = 1 and cutoff > 0
),

ranked as (
    select
        *,
        row_number() over (
            partition by cutoff_at
            order by purchase_probability desc, user_id asc
        ) as rank,
        count(*) over (partition by cutoff_at) as shopper_count
    from predictions
),

final as (
    select
        ranked.run_id,
        ranked.user_id,
        ranked.cutoff_at,
        ranked.purchase_probability,
        cast(ranked.rank as integer) as rank,
        cast(floor((ranked.rank - 1) * 10 / ranked.shopper_count) + 1 as integer) as decile,
        ranked.is_targeted,
        examples.label as is_buyer
    from ranked
    inner join examples
        on
            ranked.user_id = examples.user_id
            and ranked.cutoff_at = examples.cutoff_at
)

select * from final
order by cutoff_at, rank
