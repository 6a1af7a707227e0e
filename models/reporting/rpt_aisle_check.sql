-- Accuracy of the aisle returns for test shoppers, over the aisles with enough of them.
with

aisles as (
    select
        *,
        case
            when test_observed_returns between test_low_returns and test_high_returns then 1 else 0
        end as is_within
    from {{ ref('rpt_aisles') }}
    where test_shopper_count >= {{ var('aisle_shoppers') }}
),

final as (
    select
        cast(count(*) as integer) as aisle_count,
        cast({{ exact_sum('test_expected_returns') }} as double) as expected_returns,
        cast(sum(test_observed_returns) as integer) as observed_returns,
        sum(is_within) / cast(count(*) as double) as within_share
    from aisles
    having count(*) > 0
)

select * from final
