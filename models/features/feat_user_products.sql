with

past_items as (
    select * from {{ ref('past_items') }}
),

targets as (
    select * from {{ ref('targets') }}
),

pair_totals as (
    select * from {{ ref('pair_totals') }}
),

feat_users as (
    select * from {{ ref('feat_users') }}
),

feat_products as (
    select * from {{ ref('feat_products') }}
),

aisle_orders as (
    select distinct
        cutoff,
        user_id,
        aisle_id,
        order_number,
        order_day
    from past_items
),

user_aisle_orders as (
    select
        cutoff,
        user_id,
        aisle_id,
        count(*) as orders,
        max(order_number) as last_order_number,
        max(order_day) as last_order_day,
        min(order_day) as first_order_day
    from aisle_orders
    group by cutoff, user_id, aisle_id
),

user_aisles as (
    select
        cutoff,
        user_id,
        aisle_id,
        count(*) as products,
        sum(purchases) as purchases,
        sum(decay_5_orders) as decay_5_orders,
        sum(purchases_again) as purchases_again,
        sum(expected_again) as expected_again
    from pair_totals
    group by cutoff, user_id, aisle_id
),

aisles as (
    select
        cutoff,
        aisle_id,
        sum(purchases_again) as purchases_again,
        sum(expected_again) as expected_again
    from user_aisles
    group by cutoff, aisle_id
),

joined as (
    select
        pairs.*,
        targets.order_number,
        targets.order_day,
        users.user_order_count,
        users.same_dow_orders,
        users.near_hour_orders,
        users.product_decay_5_orders,
        users.decay_2_orders as all_2_orders,
        users.decay_5_orders as all_5_orders,
        users.decay_15_orders as all_15_orders,
        users.decay_30_days as all_30_days,
        users.decay_90_days as all_90_days,
        user_aisles.products as aisle_products,
        user_aisles.purchases as aisle_purchases,
        user_aisles.decay_5_orders as aisle_decay,
        user_aisles.purchases_again as user_aisle_again,
        cast(user_aisles.expected_again as double) as user_aisle_expected,
        user_aisle_orders.orders as aisle_orders,
        user_aisle_orders.last_order_number as aisle_last_order,
        user_aisle_orders.last_order_day as aisle_last_day,
        user_aisle_orders.first_order_day as aisle_first_day,
        -- Of the product and the aisle, what the other shoppers did.
        products.purchases_again - pairs.purchases_again as others_again,
        cast(products.expected_again - pairs.expected_again as double) as others_expected,
        (aisles.purchases_again - user_aisles.purchases_again + 20)
        / (cast(aisles.expected_again - user_aisles.expected_again as double) + 20)
            as aisle_reorder_ratio,
        rank() over (
            partition by pairs.cutoff, pairs.user_id order by pairs.decay_5_orders desc
        ) as decay_rank
    from pair_totals as pairs
    inner join targets on pairs.cutoff = targets.cutoff and pairs.user_id = targets.user_id
    inner join feat_users as users
        on pairs.cutoff = users.cutoff and pairs.user_id = users.user_id
    inner join feat_products as products
        on pairs.cutoff = products.cutoff and pairs.product_id = products.product_id
    inner join user_aisles
        on
            pairs.cutoff = user_aisles.cutoff
            and pairs.user_id = user_aisles.user_id
            and pairs.aisle_id = user_aisles.aisle_id
    inner join user_aisle_orders
        on
            pairs.cutoff = user_aisle_orders.cutoff
            and pairs.user_id = user_aisle_orders.user_id
            and pairs.aisle_id = user_aisle_orders.aisle_id
    inner join aisles on pairs.cutoff = aisles.cutoff and pairs.aisle_id = aisles.aisle_id
),

final as (
    select
        cutoff,
        user_id,
        product_id,
        cast(purchases as integer) as pair_purchase_count,
        cast(orders_since_last as integer) as pair_orders_since_last,
        cast(days_since_last as integer) as pair_days_since_last,
        cast(orders_since_first as integer) as pair_orders_since_first,
        cast(first_order_number as integer) as pair_first_order_number,
        cast(purchases / orders_since_first as float) as pair_share_since_first,
        cast(purchases / user_order_count as float) as pair_order_share,
        cast(in_last_1 as integer) as pair_last_1_count,
        cast(in_last_2 as integer) as pair_last_2_count,
        cast(in_last_3 as integer) as pair_last_3_count,
        cast(in_last_5 as integer) as pair_last_5_count,
        cast(case when in_last_1 = 1 then last_run else 0 end as integer) as pair_streak_orders,
        {{ float_share('decay_2_orders', 'all_2_orders') }} as pair_decay_2_orders_share,
        {{ float_share('decay_5_orders', 'all_5_orders') }} as pair_decay_5_orders_share,
        {{ float_share('decay_15_orders', 'all_15_orders') }} as pair_decay_15_orders_share,
        {{ float_share('decay_30_days', 'all_30_days') }} as pair_decay_30_days_share,
        {{ float_share('decay_90_days', 'all_90_days') }} as pair_decay_90_days_share,
        -- Gaps add up to the way from the first purchase to the last.
        cast((orders_since_first - orders_since_last) / nullif(purchases_again, 0) as float)
            as pair_gap_mean_orders,
        cast((days_since_first - days_since_last) / nullif(purchases_again, 0) as float)
            as pair_gap_mean_days,
        cast(gap_median_orders as float) as pair_gap_median_orders,
        cast(gap_median_days as float) as pair_gap_median_days,
        cast(gap_stddev_orders as float) as pair_gap_stddev_orders,
        cast(gap_stddev_days as float) as pair_gap_stddev_days,
        cast(gap_last_orders as integer) as pair_gap_last_orders,
        cast(gap_last_days as integer) as pair_gap_last_days,
        -- Overdue: 1 is as long ago as it usually takes.
        cast(days_since_last / nullif(gap_median_days, 0) as float) as pair_overdue_days_ratio,
        cast(days_since_last - gap_median_days as float) as pair_overdue_days,
        cast(orders_since_last / gap_median_orders as float) as pair_overdue_orders_ratio,
        cast(same_dow / nullif(same_dow_orders, 0) as float) as pair_same_dow_share,
        cast(near_hour / nullif(near_hour_orders, 0) as float) as pair_near_hour_share,
        {{ float_share('cart_position_sum', 'cart_positions') }} as pair_cart_position_share,
        cast(decay_rank as integer) as pair_decay_rank,
        {{ float_share('decay_5_orders', 'product_decay_5_orders') }} as pair_decay_share,
        {{ float_share('decay_5_orders', 'aisle_decay') }} as pair_aisle_decay_share,
        -- Bought again, over what was expected; a few expected purchases more pull rare ones to 1.
        cast((purchases_again + 1) / (cast(expected_again as double) + 1) as float)
            as pair_reorder_ratio,
        -- A product that few bought starts from its aisle's ratio.
        cast((others_again + 10 * aisle_reorder_ratio) / (others_expected + 10) as float)
            as pair_product_reorder_ratio,
        cast(aisle_reorder_ratio as float) as aisle_reorder_ratio,
        cast((user_aisle_again + 3) / (user_aisle_expected + 3) as float)
            as aisle_user_reorder_ratio,
        cast(aisle_products as integer) as aisle_product_count,
        cast(aisle_products / aisle_purchases as float) as aisle_variety_share,
        cast(aisle_orders / user_order_count as float) as aisle_order_share,
        cast(order_number - aisle_last_order as integer) as aisle_orders_since_last,
        cast(order_day - aisle_last_day as integer) as aisle_days_since_last,
        cast(
            (order_day - aisle_last_day) * (aisle_orders - 1)
            / nullif(aisle_last_day - aisle_first_day, 0) as float
        ) as aisle_overdue_days_ratio
    from joined
)

select * from final
order by cutoff, user_id, product_id
