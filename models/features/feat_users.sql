with

past_items as (
    select * from {{ ref('past_items') }}
),

targets as (
    select * from {{ ref('targets') }}
),

past_orders as (
    select
        cutoff,
        user_id,
        order_number,
        order_day,
        order_dow,
        order_hour,
        days_since_prior_order as gap_days,
        count(*) as items,
        sum(case when purchase_number > 1 then 1 else 0 end) as reordered
    from past_items
    group by cutoff, user_id, order_number, order_day, order_dow, order_hour, days_since_prior_order
),

aged as (
    select
        past_orders.*,
        targets.order_number - past_orders.order_number as orders_ago,
        case when past_orders.order_dow = targets.order_dow then 1 else 0 end as is_same_dow,
        case when abs(past_orders.order_hour - targets.order_hour) <= 2 then 1 else 0 end
            as is_near_hour
    from past_orders
    inner join targets
        on past_orders.cutoff = targets.cutoff and past_orders.user_id = targets.user_id
),

totals as (
    select
        cutoff,
        user_id,
        count(*) as orders,
        sum(items) as items,
        sum(reordered) as reordered,
        avg(gap_days) as gap_mean_days,
        {{ exact_stddev('gap_days') }} as gap_stddev_days,
        median(gap_days) as gap_median_days,
        avg(items) as basket_mean,
        {{ exact_stddev('items') }} as basket_stddev,
        sum(is_same_dow) as same_dow_orders,
        sum(is_near_hour) as near_hour_orders,
        -- In the first order nothing can be a reorder.
        sum(case when order_number > 1 then items end) as later_items,
        sum(case when order_number > 1 and reordered = 0 then 1 else 0 end) as orders_all_new,
        avg(case when orders_ago <= 3 then items end) as recent_basket_mean,
        sum(case when orders_ago <= 3 then items end) as recent_items,
        sum(case when orders_ago <= 3 then reordered end) as recent_reordered,
        max(case when orders_ago = 1 then items end) as last_items,
        max(case when orders_ago = 1 then reordered end) as last_reordered,
        max(case when orders_ago = 1 then gap_days end) as last_gap_days
    from aged
    group by cutoff, user_id
),

final as (
    select
        cutoff,
        user_id,
        cast(orders as integer) as user_order_count,
        cast(items as integer) as user_item_count,
        cast(items - reordered as integer) as user_product_count,
        cast(gap_mean_days as float) as user_gap_mean_days,
        cast(gap_stddev_days as float) as user_gap_stddev_days,
        cast(gap_median_days as float) as user_gap_median_days,
        cast(last_gap_days as integer) as user_last_gap_days,
        cast(basket_mean as float) as user_basket_mean_count,
        cast(basket_stddev as float) as user_basket_stddev_count,
        cast(recent_basket_mean as float) as user_recent_basket_mean_count,
        cast(last_items as integer) as user_last_basket_count,
        cast(reordered / nullif(later_items, 0) as float) as user_reordered_share,
        cast(recent_reordered / recent_items as float) as user_recent_reordered_share,
        cast(last_reordered / last_items as float) as user_last_reordered_share,
        cast(orders_all_new / nullif(orders - 1, 0) as float) as user_all_new_order_share,
        cast(reordered / nullif(orders - 1, 0) as float) as user_reordered_mean_count,
        cast(same_dow_orders as integer) as user_same_dow_order_count,
        cast(near_hour_orders as integer) as user_near_hour_order_count
    from totals
)

select * from final
order by cutoff, user_id
