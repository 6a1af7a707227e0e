-- Tenths of each test day's shoppers, added up over the days. The interval is over shoppers,
-- because the days of a shopper are alike.
with

tested as (
    select * from {{ ref('fct_test_purchases') }}
),

shoppers as (
    select
        decile,
        user_id,
        max(run_id) as run_id,
        count(*) as days,
        sum(case when is_buyer then 1 else 0 end) as buys,
        {{ exact_sum('purchase_probability', bits=35) }} as expected
    from tested
    group by decile, user_id
),

deciles as (
    select
        decile,
        max(run_id) as run_id,
        cast(sum(days) as double) as days,
        cast(sum(buys) as double) as buys,
        {{ exact_sum('expected', bits=35) }} as expected,
        {{ ratio_end('buys', 'days', '-') }} as low_share,
        {{ ratio_end('buys', 'days', '+') }} as high_share
    from shoppers
    group by decile
),

final as (
    select
        run_id,
        decile,
        cast(days as integer) as moment_count,
        cast(buys as integer) as buyer_count,
        expected / days as predicted_share,
        buys / days as observed_share,
        low_share as observed_low_share,
        high_share as observed_high_share,
        buys / days / nullif(sum(buys) over () / sum(days) over (), 0) as lift_ratio,
        buys / nullif(sum(buys) over (), 0) as captured_share,
        sum(buys) over (order by decile) / nullif(sum(buys) over (), 0) as captured_so_far_share
    from deciles
)

select * from final
order by decile
