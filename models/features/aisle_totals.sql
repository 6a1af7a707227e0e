{{ config(tags=['population']) }}

with

user_aisle_totals as (
    select * from {{ ref('user_aisle_totals') }}
),

final as (
    select
        cutoff,
        aisle_id,
        cast(sum(purchases_again) as bigint) as purchases_again,
        sum(expected_again) as expected_again
    from user_aisle_totals
    group by cutoff, aisle_id
)

select * from final
