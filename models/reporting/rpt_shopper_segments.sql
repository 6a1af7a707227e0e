with

shoppers as (
    select * from {{ ref('fct_shoppers') }}
),

sums as (
    select
        segment,
        count(*) as shopper_count,
        sum(order_count) / cast(count(*) as double) as mean_orders,
        avg(cast(usual_gap_days as decimal(18, 6))) as mean_usual_gap,
        avg(cast(wait_days as decimal(18, 6))) as mean_wait,
        avg(cast(reordered_share as decimal(18, 9))) as mean_reordered,
        cast({{ exact_sum('expected_units') }} as double) as expected_units,
        sum(basket_item_count) / cast(count(*) as double) as mean_basket_items
    from shoppers
    group by segment
),

final as (
    select
        segment,
        -- The conditions are in fct_shoppers, where the first that applies counts.
        case segment
            when 'new' then 'fewer than {{ var("segment_orders") }} orders so far'
            when 'lapsing'
                then
                    'the wait since the last order is over {{ var("segment_late_ratio") }} times'
                    || ' the usual gap, and {{ var("segment_late_days") }} days longer'
            when 'slowing'
                then
                    'the last gap was over {{ var("segment_late_ratio") }} times the usual,'
                    || ' and {{ var("segment_late_days") }} days longer'
            when 'loyal'
                then
                    'in rhythm, and at least '
                    || cast(cast(100 * {{ var("segment_loyal_share") }} as integer) as varchar)
                    || '% of the items were bought before'
            else 'in rhythm, and mostly buys what is new to them'
        end as definition,
        cast(shopper_count as integer) as shopper_count,
        shopper_count / cast(sum(shopper_count) over () as double) as shopper_share,
        mean_orders as mean_order_count,
        cast(mean_usual_gap as double) as mean_usual_gap_days,
        cast(mean_wait as double) as mean_wait_days,
        cast(mean_reordered as double) as mean_reordered_share,
        expected_units,
        expected_units / shopper_count as mean_expected_units,
        mean_basket_items as mean_basket_item_count
    from sums
)

select * from final
order by shopper_count desc, segment asc
