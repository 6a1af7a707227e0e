-- A view of `pair_totals`, because computing these ratios is cheaper than storing them.
{{ config(materialized='view') }}

with

pair_totals as (
    select * from {{ ref('pair_totals') }}
),

user_aisle_totals as (
    select * from {{ ref('user_aisle_totals') }}
),

aisle_totals as (
    select * from {{ ref('aisle_totals') }}
),

feat_users as (
    select * from {{ ref('feat_users') }}
),

feat_products as (
    select * from {{ ref('feat_products') }}
),

joined as (
    select
        pairs.*,
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
        user_aisles.expected_again as user_aisle_expected,
        user_aisles.orders as aisle_orders,
        user_aisles.orders_since_last as aisle_orders_since_last,
        user_aisles.days_since_last as aisle_days_since_last,
        user_aisles.days_since_first as aisle_days_since_first,
        -- Sums over the other shoppers, for the product and for the aisle.
        {{ of_others('products.purchases_again', 'pairs.purchases_again') }} as others_again,
        {{ of_others('products.expected_again', 'pairs.expected_again') }} as others_expected,
        ({{ of_others('aisles.purchases_again', 'user_aisles.purchases_again') }} + 20)
        / ({{ of_others('aisles.expected_again', 'user_aisles.expected_again') }} + 20)
            as aisle_reorder_ratio
    from pair_totals as pairs
    inner join feat_users as users
        on pairs.cutoff = users.cutoff and pairs.user_id = users.user_id
    left join feat_products as products
        on pairs.cutoff = products.cutoff and pairs.product_id = products.product_id
    inner join user_aisle_totals as user_aisles
        on
            pairs.cutoff = user_aisles.cutoff
            and pairs.user_id = user_aisles.user_id
            and pairs.aisle_id = user_aisles.aisle_id
    left join aisle_totals as aisles
        on pairs.cutoff = aisles.cutoff and pairs.aisle_id = aisles.aisle_id
),

final as (
    select
        cutoff,
        user_id,
        product_id,
        purchases as pair_purchase_count,
        orders_since_last as pair_orders_since_last,
        days_since_last as pair_days_since_last,
        orders_since_first as pair_orders_since_first,
        first_order_number as pair_first_order_number,
        cast(purchases / orders_since_first as float) as pair_share_since_first,
        cast(purchases / user_order_count as float) as pair_order_share,
        in_last_1 as pair_last_1_count,
        in_last_2 as pair_last_2_count,
        in_last_3 as pair_last_3_count,
        in_last_5 as pair_last_5_count,
        case when in_last_1 = 1 then last_run else 0 end as pair_streak_orders,
        {{ float_share('decay_2_orders', 'all_2_orders') }} as pair_decay_2_orders_share,
        {{ float_share('decay_5_orders', 'all_5_orders') }} as pair_decay_5_orders_share,
        {{ float_share('decay_15_orders', 'all_15_orders') }} as pair_decay_15_orders_share,
        {{ float_share('decay_30_days', 'all_30_days') }} as pair_decay_30_days_share,
        {{ float_share('decay_90_days', 'all_90_days') }} as pair_decay_90_days_share,
        -- The gaps add up to the distance from the first purchase to the last.
        cast((orders_since_first - orders_since_last) / nullif(purchases_again, 0) as float)
            as pair_gap_mean_orders,
        cast((days_since_first - days_since_last) / nullif(purchases_again, 0) as float)
            as pair_gap_mean_days,
        gap_median_orders as pair_gap_median_orders,
        gap_median_days as pair_gap_median_days,
        gap_stddev_orders as pair_gap_stddev_orders,
        gap_stddev_days as pair_gap_stddev_days,
        gap_last_orders as pair_gap_last_orders,
        gap_last_days as pair_gap_last_days,
        -- 1 is the usual gap; above 1 the product is overdue.
        cast(days_since_last / nullif(gap_median_days, 0) as float) as pair_overdue_days_ratio,
        cast(days_since_last - gap_median_days as float) as pair_overdue_days,
        cast(orders_since_last / gap_median_orders as float) as pair_overdue_orders_ratio,
        cast(same_dow / nullif(same_dow_orders, 0) as float) as pair_same_dow_share,
        cast(near_hour / nullif(near_hour_orders, 0) as float) as pair_near_hour_share,
        {{ float_share('cart_position_sum', 'cart_positions') }} as pair_cart_position_share,
        decay_rank as pair_decay_rank,
        {{ float_share('decay_5_orders', 'product_decay_5_orders') }} as pair_decay_share,
        {{ float_share('decay_5_orders', 'aisle_decay') }} as pair_aisle_decay_share,
        -- Repeat purchases over expected ones; the constant pulls rare pairs towards 1.
        cast((purchases_again + 1) / (expected_again + 1) as float)
            as pair_reorder_ratio,
        -- A product with few purchases starts from the ratio of its aisle.
        cast((others_again + 10 * aisle_reorder_ratio) / (others_expected + 10) as float)
            as pair_product_reorder_ratio,
        cast(aisle_reorder_ratio as float) as aisle_reorder_ratio,
        cast((user_aisle_again + 3) / (user_aisle_expected + 3) as float)
            as aisle_user_reorder_ratio,
        aisle_products as aisle_product_count,
        cast(aisle_products / aisle_purchases as float) as aisle_variety_share,
        cast(aisle_orders / user_order_count as float) as aisle_order_share,
        aisle_orders_since_last,
        aisle_days_since_last,
        cast(
            aisle_days_since_last * (aisle_orders - 1)
            / nullif(aisle_days_since_first - aisle_days_since_last, 0) as float
        ) as aisle_overdue_days_ratio
    from joined
)

select * from final
