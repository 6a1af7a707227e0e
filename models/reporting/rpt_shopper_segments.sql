with

shoppers as (
    select * from {{ ref('fct_shoppers') }}
),

bounds as (
    select * from {{ ref('segment_bounds') }}
),

sums as (
    select
        segment,
        is_drifting,
        count(*) as shopper_count,
        sum(order_count) / cast(count(*) as double) as mean_orders,
        avg(cast(usual_gap_days as decimal(18, 6))) as mean_usual_gap,
        avg(cast(wait_days as decimal(18, 6))) as mean_wait,
        avg(cast(reordered_share as decimal(18, 9))) as mean_reordered,
        {{ exact_sum('weekly_items') }} as weekly_items,
        {{ exact_sum('weekly_spend', bits=20) }} as weekly_spend,
        cast({{ exact_sum('expected_units') }} as double) as expected_units,
        sum(basket_item_count) / cast(count(*) as double) as mean_basket_items
    from shoppers
    group by segment, is_drifting
),

final as (
    select
        sums.segment,
        cast(sums.shopper_count as integer) as shopper_count,
        sums.shopper_count / cast(sum(sums.shopper_count) over () as double) as shopper_share,
        sums.is_drifting,
        cast(sums.weekly_items as double) as weekly_items,
        cast(sums.weekly_spend as double) as weekly_spend,
        sums.mean_orders as mean_order_count,
        cast(sums.mean_usual_gap as double) as mean_usual_gap_days,
        cast(sums.mean_wait as double) as mean_wait_days,
        cast(sums.mean_reordered as double) as mean_reordered_share,
        sums.expected_units,
        sums.expected_units / sums.shopper_count as mean_expected_units,
        sums.mean_basket_items as mean_basket_item_count,
        cast({{ var('segment_orders') }} as integer) as bound_order_count,
        bounds.late_ratio as bound_late_ratio,
        bounds.lost_ratio as bound_lost_ratio,
        case when bounds.has_spend then bounds.champion_weekly_value end as bound_weekly_spend,
        case when not bounds.has_spend then bounds.champion_weekly_value end as bound_weekly_items,
        bounds.loyal_gap_days as bound_loyal_gap_days
    from sums
    cross join bounds
)

select * from final
order by shopper_count desc, segment asc
