with

past_items as (
    select * from {{ ref('past_items') }}
),

targets as (
    select * from {{ ref('targets') }}
),

feat_users as (
    select * from {{ ref('feat_users') }}
),

lines as (
    select
        past_items.*,
        -- 1 is the order just before the target.
        targets.order_number - past_items.order_number as orders_ago,
        targets.order_day - past_items.order_day as days_ago,
        case when past_items.order_dow = targets.order_dow then 1 else 0 end as is_same_dow,
        case when abs(past_items.order_hour - targets.order_hour) <= 2 then 1 else 0 end
            as is_near_hour
    from past_items
    inner join targets
        on past_items.cutoff = targets.cutoff and past_items.user_id = targets.user_id
),

pairs as (
    select
        cutoff,
        user_id,
        product_id,
        min(aisle_id) as aisle_id,
        count(*) as purchases,
        min(orders_ago) as orders_since_last,
        min(days_ago) as days_since_last,
        max(orders_ago) as orders_since_first,
        max(days_ago) as days_since_first,
        min(order_number) as first_order_number,
        sum(case when orders_ago <= 1 then 1 else 0 end) as in_last_1,
        sum(case when orders_ago <= 2 then 1 else 0 end) as in_last_2,
        sum(case when orders_ago <= 3 then 1 else 0 end) as in_last_3,
        sum(case when orders_ago <= 5 then 1 else 0 end) as in_last_5,
        sum(case when orders_ago <= 10 then 1 else 0 end) as in_last_10,
        -- Orders in a row up to the last purchase: those since the last one that followed a pause.
        max(purchase_number)
        - max(case when gap_orders = 1 then 0 else purchase_number end) + 1 as last_run,
        {{ exact_sum('power(0.5, (orders_ago - 1) / 2.0)') }} as decay_2_orders,
        {{ exact_sum('power(0.5, (orders_ago - 1) / 5.0)') }} as decay_5_orders,
        {{ exact_sum('power(0.5, (orders_ago - 1) / 15.0)') }} as decay_15_orders,
        {{ exact_sum('power(0.5, days_ago / 10.0)') }} as decay_10_days,
        {{ exact_sum('power(0.5, days_ago / 30.0)') }} as decay_30_days,
        {{ exact_sum('power(0.5, days_ago / 90.0)') }} as decay_90_days,
        avg(gap_orders) as gap_mean_orders,
        avg(gap_days) as gap_mean_days,
        median(gap_orders) as gap_median_orders,
        median(gap_days) as gap_median_days,
        {{ exact_stddev('gap_orders') }} as gap_stddev_orders,
        {{ exact_stddev('gap_days') }} as gap_stddev_days,
        min(gap_orders) as gap_min_orders,
        max(gap_orders) as gap_max_orders,
        max(gap_days) as gap_max_days,
        max_by(gap_orders, order_number) as gap_last_orders,
        max_by(gap_days, order_number) as gap_last_days,
        sum(is_same_dow) as same_dow,
        sum(is_near_hour) as near_hour,
        {{ exact_sum('cart_position / order_item_count') }} as cart_position_sum,
        count(cart_position) as cart_positions
    from lines
    group by cutoff, user_id, product_id
),

aisle_orders as (
    select distinct
        cutoff,
        user_id,
        aisle_id,
        orders_ago,
        days_ago
    from lines
),

aisles as (
    select
        cutoff,
        user_id,
        aisle_id,
        count(*) as orders,
        min(orders_ago) as orders_since_last,
        min(days_ago) as days_since_last,
        {{ exact_sum('power(0.5, (orders_ago - 1) / 5.0)') }} as decay_5_orders
    from aisle_orders
    group by cutoff, user_id, aisle_id
),

ranked as (
    select
        *,
        rank() over (partition by cutoff, user_id order by decay_5_orders desc) as decay_rank,
        sum(decay_5_orders) over (partition by cutoff, user_id) as user_decay,
        sum(decay_5_orders) over (partition by cutoff, user_id, aisle_id) as aisle_decay,
        sum(purchases) over (partition by cutoff, user_id, aisle_id) as aisle_purchases,
        count(*) over (partition by cutoff, user_id, aisle_id) as aisle_products
    from pairs
),

final as (
    select
        ranked.cutoff,
        ranked.user_id,
        ranked.product_id,
        cast(ranked.purchases as integer) as pair_purchase_count,
        cast(ranked.orders_since_last as integer) as pair_orders_since_last,
        cast(ranked.days_since_last as integer) as pair_days_since_last,
        cast(ranked.orders_since_first as integer) as pair_orders_since_first,
        cast(ranked.days_since_first as integer) as pair_days_since_first,
        cast(ranked.first_order_number as integer) as pair_first_order_number,
        cast(ranked.purchases / ranked.orders_since_first as float) as pair_share_since_first,
        cast(ranked.purchases / feat_users.user_order_count as float) as pair_order_share,
        cast(ranked.in_last_1 as integer) as pair_last_1_count,
        cast(ranked.in_last_2 as integer) as pair_last_2_count,
        cast(ranked.in_last_3 as integer) as pair_last_3_count,
        cast(ranked.in_last_5 as integer) as pair_last_5_count,
        cast(ranked.in_last_10 as integer) as pair_last_10_count,
        cast(case when ranked.in_last_1 = 1 then ranked.last_run else 0 end as integer)
            as pair_streak_orders,
        cast(ranked.decay_2_orders as float) as pair_decay_2_orders,
        cast(ranked.decay_5_orders as float) as pair_decay_5_orders,
        cast(ranked.decay_15_orders as float) as pair_decay_15_orders,
        cast(ranked.decay_10_days as float) as pair_decay_10_days,
        cast(ranked.decay_30_days as float) as pair_decay_30_days,
        cast(ranked.decay_90_days as float) as pair_decay_90_days,
        cast(ranked.gap_mean_orders as float) as pair_gap_mean_orders,
        cast(ranked.gap_mean_days as float) as pair_gap_mean_days,
        cast(ranked.gap_median_orders as float) as pair_gap_median_orders,
        cast(ranked.gap_median_days as float) as pair_gap_median_days,
        cast(ranked.gap_stddev_orders as float) as pair_gap_stddev_orders,
        cast(ranked.gap_stddev_days as float) as pair_gap_stddev_days,
        cast(ranked.gap_min_orders as integer) as pair_gap_min_orders,
        cast(ranked.gap_max_orders as integer) as pair_gap_max_orders,
        cast(ranked.gap_max_days as integer) as pair_gap_max_days,
        cast(ranked.gap_last_orders as integer) as pair_gap_last_orders,
        cast(ranked.gap_last_days as integer) as pair_gap_last_days,
        -- Overdue: 1 is as long ago as it usually takes.
        cast(ranked.days_since_last / nullif(ranked.gap_median_days, 0) as float)
            as pair_overdue_days_ratio,
        cast(ranked.days_since_last - ranked.gap_median_days as float) as pair_overdue_days,
        cast(ranked.orders_since_last / ranked.gap_median_orders as float)
            as pair_overdue_orders_ratio,
        cast(ranked.orders_since_last - ranked.gap_max_orders as integer)
            as pair_beyond_max_gap_orders,
        cast(ranked.same_dow as integer) as pair_same_dow_count,
        cast(ranked.same_dow / nullif(feat_users.user_same_dow_order_count, 0) as float)
            as pair_same_dow_share,
        cast(ranked.near_hour / nullif(feat_users.user_near_hour_order_count, 0) as float)
            as pair_near_hour_share,
        cast(cast(ranked.cart_position_sum as double) / nullif(ranked.cart_positions, 0) as float)
            as pair_cart_position_share,
        cast(ranked.decay_rank as integer) as pair_decay_rank,
        cast(
            cast(ranked.decay_5_orders as double) / nullif(cast(ranked.user_decay as double), 0)
            as float
        ) as pair_decay_share,
        cast(
            cast(ranked.decay_5_orders as double) / nullif(cast(ranked.aisle_decay as double), 0)
            as float
        ) as pair_aisle_decay_share,
        cast(ranked.purchases / ranked.aisle_purchases as float) as pair_aisle_purchase_share,
        -- Orders from the aisle since the last purchase: something else may have taken its place.
        cast(ranked.orders_since_last - aisles.orders_since_last as integer)
            as pair_replaced_orders,
        cast(ranked.aisle_products as integer) as aisle_product_count,
        cast(aisles.orders / feat_users.user_order_count as float) as aisle_order_share,
        cast(aisles.orders_since_last as integer) as aisle_orders_since_last,
        cast(aisles.days_since_last as integer) as aisle_days_since_last,
        cast(aisles.decay_5_orders as float) as aisle_decay_5_orders
    from ranked
    inner join feat_users
        on ranked.cutoff = feat_users.cutoff and ranked.user_id = feat_users.user_id
    inner join aisles
        on
            ranked.cutoff = aisles.cutoff
            and ranked.user_id = aisles.user_id
            and ranked.aisle_id = aisles.aisle_id
)

select * from final
order by cutoff, user_id, product_id
