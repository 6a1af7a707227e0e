-- Where the segments of fct_shoppers begin, from all shoppers who are not new.
with

shoppers as (
    select * from {{ ref('shopper_rhythms') }}
    where order_count >= {{ var('segment_orders') }}
),

orders as (
    select * from {{ ref('fct_orders') }}
    where not is_open
),

gaps as (
    select orders.days_since_prior_order / shoppers.rhythm_days as gap_ratio
    from orders
    inner join shoppers on orders.user_id = shoppers.user_id
    where orders.days_since_prior_order is not null
),

ratios as (
    select
        percentile_cont(0.95) within group (order by gap_ratio) as late_ratio,
        percentile_cont(0.995) within group (order by gap_ratio) as lost_ratio
    from gaps
),

thirds as (
    select
        coalesce(max(weekly_spend) > 0, false) as has_spend,
        percentile_cont(2 / 3.0) within group (order by weekly_value) as champion_weekly_value,
        percentile_cont(2 / 3.0) within group (order by usual_gap_days) as loyal_gap_days
    from shoppers
),

final as (
    select
        ratios.late_ratio,
        ratios.lost_ratio,
        thirds.has_spend,
        thirds.champion_weekly_value,
        thirds.loyal_gap_days
    from ratios
    cross join thirds
)

select * from final
