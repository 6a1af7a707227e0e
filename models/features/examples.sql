-- The only table that a trained model reads, and the only place where a label is made: whether the
-- target order contains the product. At cutoff 0 the label is not known yet.
with

targets as (
    select * from {{ ref('targets') }}
),

users as (
    select * from {{ ref('feat_users') }}
),

products as (
    select * from {{ ref('feat_products') }}
),

pairs as (
    select * from {{ ref('feat_user_products') }}
),

promotions as (
    select * from {{ ref('feat_promotions') }}
),

order_items as (
    select * from {{ ref('fct_order_items') }}
),

bought as (
    select
        targets.cutoff,
        order_items.user_id,
        order_items.product_id
    from order_items
    inner join targets on order_items.order_id = targets.order_id
    where targets.cutoff > 0
),

final as (
    select
        pairs.cutoff,
        pairs.user_id,
        pairs.product_id,
        targets.split,
        targets.context_source,
        case when pairs.cutoff > 0 then bought.product_id is not null end as label,
        users.user_order_count,
        users.user_product_count,
        users.user_gap_mean_days,
        users.user_gap_stddev_days,
        users.user_last_gap_days,
        users.user_basket_mean_count,
        users.user_basket_stddev_count,
        users.user_recent_basket_mean_count,
        users.user_last_basket_count,
        users.user_reordered_share,
        users.user_recent_reordered_share,
        users.user_all_new_order_share,
        users.user_again_in_1_share,
        users.user_repeat_rate,
        users.user_reorder_ratio,
        products.product_order_share,
        products.product_user_share,
        products.product_reordered_share,
        products.product_one_time_buyer_share,
        products.product_repeat_rate,
        products.product_again_in_1_share,
        products.product_gap_mean_days,
        products.product_cart_position_share,
        pairs.pair_product_reorder_ratio,
        pairs.pair_purchase_count,
        pairs.pair_orders_since_last,
        pairs.pair_days_since_last,
        pairs.pair_orders_since_first,
        pairs.pair_first_order_number,
        pairs.pair_share_since_first,
        pairs.pair_order_share,
        pairs.pair_last_1_count,
        pairs.pair_last_2_count,
        pairs.pair_last_3_count,
        pairs.pair_last_5_count,
        pairs.pair_streak_orders,
        pairs.pair_decay_2_orders_share,
        pairs.pair_decay_5_orders_share,
        pairs.pair_decay_15_orders_share,
        pairs.pair_decay_30_days_share,
        pairs.pair_decay_90_days_share,
        pairs.pair_gap_mean_orders,
        pairs.pair_gap_mean_days,
        pairs.pair_gap_median_orders,
        pairs.pair_gap_median_days,
        pairs.pair_gap_stddev_orders,
        pairs.pair_gap_stddev_days,
        pairs.pair_gap_last_orders,
        pairs.pair_gap_last_days,
        pairs.pair_overdue_days_ratio,
        pairs.pair_overdue_days,
        pairs.pair_overdue_orders_ratio,
        pairs.pair_same_dow_share,
        pairs.pair_near_hour_share,
        pairs.pair_cart_position_share,
        pairs.pair_reorder_ratio,
        pairs.pair_decay_rank,
        pairs.pair_decay_share,
        pairs.pair_aisle_decay_share,
        pairs.aisle_reorder_ratio,
        pairs.aisle_user_reorder_ratio,
        pairs.aisle_product_count,
        pairs.aisle_variety_share,
        pairs.aisle_order_share,
        pairs.aisle_orders_since_last,
        pairs.aisle_days_since_last,
        pairs.aisle_overdue_days_ratio,
        targets.order_dow as context_dow,
        targets.order_hour as context_hour,
        targets.days_since_prior_order as context_days_since_prior_order,
        cast(targets.days_since_prior_order / nullif(users.user_gap_mean_days, 0) as float)
            as context_gap_ratio,
        promotions.context_promotion_count,
        promotions.context_mailer_count,
        promotions.context_display_count
    from pairs
    inner join targets on pairs.cutoff = targets.cutoff and pairs.user_id = targets.user_id
    inner join users on pairs.cutoff = users.cutoff and pairs.user_id = users.user_id
    left join products on pairs.cutoff = products.cutoff and pairs.product_id = products.product_id
    left join promotions
        on
            pairs.cutoff = promotions.cutoff
            and pairs.user_id = promotions.user_id
            and pairs.product_id = promotions.product_id
    left join bought
        on
            pairs.cutoff = bought.cutoff
            and pairs.user_id = bought.user_id
            and pairs.product_id = bought.product_id
)

select * from final
