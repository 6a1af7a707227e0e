-- Aisles most at risk come first: those where fewer returns are expected than the same shoppers'
-- own past gives. An aisle of few shoppers has no rank.
with

returns as (
    select * from {{ ref('fct_aisle_returns') }}
    where past_return_share is not null
),

tested as (
    select * from {{ ref('fct_test_aisle_returns') }}
),

bands as (
    select
        band,
        min_return_ratio as low_ratio,
        lead(min_return_ratio) over (order by min_return_ratio) as high_ratio
    from {{ ref('risk_bands') }}
),

sums as (
    select
        department,
        aisle,
        count(*) as shopper_count,
        {{ exact_sum('return_probability') }} as expected_returns,
        {{ exact_sum('past_return_share') }} as past_returns,
        {{ exact_sum('past_order_share') }} as past_orders
    from returns
    group by department, aisle
),

test_counts as (
    select
        department,
        aisle,
        count(*) as shopper_count,
        sum(case when has_returned then 1 else 0 end) as observed_returns,
        {{ exact_sum('return_probability') }} as expected_returns,
        {{ exact_sum('return_probability * (1 - return_probability)') }} as variance
    from tested
    group by department, aisle
),

test_sums as (
    select
        *,
        {{ count_end('expected_returns', 'variance', '-') }} as low_returns,
        {{ count_end('expected_returns', 'variance', '+') }} as high_returns
    from test_counts
),

rated as (
    select
        *,
        (expected_returns + {{ var('aisle_steady_returns') }})
        / (past_returns + {{ var('aisle_steady_returns') }}) as return_ratio,
        shopper_count >= {{ var('aisle_shoppers') }} as is_ranked
    from sums
),

final as (
    select
        rated.department,
        rated.aisle,
        bands.band,
        cast(rated.shopper_count as integer) as shopper_count,
        cast(rated.expected_returns as double) as expected_returns,
        cast(rated.past_returns as double) as past_returns,
        cast(rated.past_returns - rated.expected_returns as double) as missing_returns,
        cast(rated.return_ratio as double) as return_ratio,
        cast(rated.past_orders / rated.shopper_count as double) as past_order_share,
        cast(coalesce(test_sums.shopper_count, 0) as integer) as test_shopper_count,
        cast(test_sums.expected_returns as double) as test_expected_returns,
        cast(test_sums.low_returns as double) as test_low_returns,
        cast(test_sums.high_returns as double) as test_high_returns,
        cast(test_sums.observed_returns as integer) as test_observed_returns,
        case
            when rated.is_ranked
                then cast(
                    row_number() over (
                        partition by rated.is_ranked
                        order by rated.return_ratio asc, rated.department asc, rated.aisle asc
                    ) as integer
                )
        end as risk_rank
    from rated
    left join test_sums
        on rated.department = test_sums.department and rated.aisle = test_sums.aisle
    left join bands
        on
            rated.is_ranked
            and rated.return_ratio >= bands.low_ratio
            and (rated.return_ratio < bands.high_ratio or bands.high_ratio is null)
)

select * from final
order by risk_rank, department, aisle
