with

past_items as (
    select * from {{ ref('past_items') }}
),

pair_totals as (
    select * from {{ ref('pair_totals') }}
),

past_orders as (
    select
        cutoff,
        user_id,
        order_number,
        orders_ago,
        days_ago,
        is_same_dow,
        is_near_hour,
        days_since_prior_order as gap_days,
        count(*) as items,
        sum(case when purchase_number > 1 then 1 else 0 end) as reordered
    from past_items
    group by
        cutoff, user_id, order_number, orders_ago, days_ago, is_same_dow, is_near_hour,
        days_since_prior_order
),

orders as (
    select
        cutoff,
        user_id,
        count(*) as orders,
        avg(gap_days) as gap_mean_days,
        {{ exact_stddev('gap_days') }} as gap_stddev_days,
        avg(items) as basket_mean,
        {{ exact_stddev('items') }} as basket_stddev,
        sum(reordered) as reordered,
        -- Without the first order, in which every product is new.
        sum(case when order_number > 1 then items end) as later_items,
        sum(case when order_number > 1 and reordered = 0 then 1 else 0 end) as orders_all_new,
        avg(case when orders_ago <= 3 then items end) as recent_basket_mean,
        sum(case when orders_ago <= 3 then items end) as recent_items,
        sum(case when orders_ago <= 3 then reordered end) as recent_reordered,
        max(case when orders_ago = 1 then items end) as last_items,
        max(case when orders_ago = 1 then gap_days end) as last_gap_days,
        sum(is_same_dow) as same_dow_orders,
        sum(is_near_hour) as near_hour_orders,
        -- The highest possible values: those of a product that is in every order.
        {{ exact_sum('power(0.5, (orders_ago - 1) / 2.0)', bits=40) }} as decay_2_orders,
        {{ exact_sum('power(0.5, (orders_ago - 1) / 5.0)', bits=40) }} as decay_5_orders,
        {{ exact_sum('power(0.5, (orders_ago - 1) / 15.0)', bits=40) }} as decay_15_orders,
        {{ exact_sum('power(0.5, days_ago / 30.0)', bits=40) }} as decay_30_days,
        {{ exact_sum('power(0.5, days_ago / 90.0)', bits=40) }} as decay_90_days
    from past_orders
    group by cutoff, user_id
),

products as (
    select
        cutoff,
        user_id,
        count(*) as products,
        sum(again_in_1) as again_in_1,
        sum(purchases - in_last_1) as followed_by_1,
        sum(orders_since_first - 1) as chances,
        sum(purchases_again) as purchases_again,
        sum(expected_again) as expected_again,
        {{ exact_sum('decay_5_orders', bits=40) }} as product_decay_5_orders
    from pair_totals
    group by cutoff, user_id
),

final as (
    select
        orders.cutoff,
        orders.user_id,
        -- Not features: denominators for feat_user_products.
        cast(orders.same_dow_orders as integer) as same_dow_orders,
        cast(orders.near_hour_orders as integer) as near_hour_orders,
        orders.decay_2_orders,
        orders.decay_5_orders,
        orders.decay_15_orders,
        orders.decay_30_days,
        orders.decay_90_days,
        products.product_decay_5_orders,
        cast(orders.orders as integer) as user_order_count,
        cast(products.products as integer) as user_product_count,
        cast(orders.gap_mean_days as float) as user_gap_mean_days,
        cast(orders.gap_stddev_days as float) as user_gap_stddev_days,
        cast(orders.last_gap_days as integer) as user_last_gap_days,
        cast(orders.basket_mean as float) as user_basket_mean_count,
        cast(orders.basket_stddev as float) as user_basket_stddev_count,
        cast(orders.recent_basket_mean as float) as user_recent_basket_mean_count,
        cast(orders.last_items as integer) as user_last_basket_count,
        cast(orders.reordered / nullif(orders.later_items, 0) as float) as user_reordered_share,
        cast(orders.recent_reordered / orders.recent_items as float)
            as user_recent_reordered_share,
        cast(orders.orders_all_new / nullif(orders.orders - 1, 0) as float)
            as user_all_new_order_share,
        cast(products.again_in_1 / nullif(products.followed_by_1, 0) as float)
            as user_again_in_1_share,
        cast(products.purchases_again / nullif(products.chances, 0) as float) as user_repeat_rate,
        cast((products.purchases_again + 5) / (products.expected_again + 5) as float)
            as user_reorder_ratio
    from orders
    inner join products
        on orders.cutoff = products.cutoff and orders.user_id = products.user_id
)

select * from final
order by cutoff, user_id
