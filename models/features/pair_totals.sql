-- One pass over the past lines that computes everything about a pair. Sums for shoppers, products
-- and aisles are sums over this table. It is the only large table among the features, so it is
-- narrow: a value that follows from other columns is computed where it is read.
-- depends_on: {{ ref('targets') }} (by_shopper divides its shoppers into blocks)
{{ config(materialized='by_shopper') }}

with

past_items as (
    select * from {{ ref('past_items') }}
),

hazards as (
    select * from {{ ref('reorder_hazards') }}
),

lines as (
    select
        past_items.*,
        hazards.expected_purchases
    from past_items
    left join hazards
        on
            past_items.cutoff = hazards.cutoff
            and least(past_items.purchase_number - 1, {{ var('hazard_purchases') }})
            = hazards.times_bought
            and least(past_items.gap_orders, {{ var('hazard_orders') }}) = hazards.orders
),

totals as (
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
        -- One bit for each of the last five orders; the lowest bit is the last order.
        bit_or(case when orders_ago between 1 and 5 then 1 << (orders_ago - 1) else 0 end)
            as last_5_orders,
        sum(case when gap_orders = 1 then 1 else 0 end) as again_in_1,
        -- Consecutive orders up to the last purchase: those since the last gap above one order.
        count(*)
        - max(case when gap_orders = 1 then 0 else purchase_number end) + 1 as last_run,
        {{ exact_sum('power(0.5, (orders_ago - 1) / 2.0)', bits=40) }} as decay_2_orders,
        {{ exact_sum('power(0.5, (orders_ago - 1) / 5.0)', bits=40) }} as decay_5_orders,
        {{ exact_sum('power(0.5, (orders_ago - 1) / 15.0)', bits=40) }} as decay_15_orders,
        {{ exact_sum('power(0.5, days_ago / 30.0)', bits=40) }} as decay_30_days,
        {{ exact_sum('power(0.5, days_ago / 90.0)', bits=40) }} as decay_90_days,
        median(gap_orders) as gap_median_orders,
        median(gap_days) as gap_median_days,
        sum(cast(gap_orders as double) * gap_orders) as gap_squares_orders,
        sum(cast(gap_days as double) * gap_days) as gap_squares_days,
        max_by(gap_orders, order_number) as gap_last_orders,
        max_by(gap_days, order_number) as gap_last_days,
        sum(is_same_dow) as same_dow,
        sum(is_near_hour) as near_hour,
        {{ exact_sum('cart_position / order_item_count') }} as cart_position_sum,
        count(cart_position) as cart_positions,
        coalesce(sum(expected_purchases), 0) as expected_so_far
    from lines
    group by cutoff, user_id, product_id
),

narrow as (
    select
        totals.cutoff,
        totals.user_id,
        totals.product_id,
        totals.aisle_id,
        cast(totals.purchases as integer) as purchases,
        cast(totals.purchases - 1 as integer) as purchases_again,
        cast(totals.orders_since_last as integer) as orders_since_last,
        cast(totals.days_since_last as integer) as days_since_last,
        cast(totals.orders_since_first as integer) as orders_since_first,
        cast(totals.days_since_first as integer) as days_since_first,
        cast(totals.first_order_number as integer) as first_order_number,
        cast(case when totals.orders_since_last = 1 then 1 else 0 end as integer) as in_last_1,
        cast(bit_count(totals.last_5_orders & 3) as integer) as in_last_2,
        cast(bit_count(totals.last_5_orders & 7) as integer) as in_last_3,
        cast(bit_count(totals.last_5_orders) as integer) as in_last_5,
        cast(totals.again_in_1 as integer) as again_in_1,
        cast(totals.last_run as integer) as last_run,
        cast(totals.decay_2_orders as float) as decay_2_orders,
        cast(totals.decay_5_orders as float) as decay_5_orders,
        cast(totals.decay_15_orders as float) as decay_15_orders,
        cast(totals.decay_30_days as float) as decay_30_days,
        cast(totals.decay_90_days as float) as decay_90_days,
        cast(totals.gap_median_orders as float) as gap_median_orders,
        cast(totals.gap_median_days as float) as gap_median_days,
        -- The gaps add up to the distance from the first purchase to the last.
        cast({{ stddev_of(
            'totals.purchases - 1',
            'totals.orders_since_first - totals.orders_since_last',
            'totals.gap_squares_orders'
        ) }} as float) as gap_stddev_orders,
        cast({{ stddev_of(
            'totals.purchases - 1',
            'totals.days_since_first - totals.days_since_last',
            'totals.gap_squares_days'
        ) }} as float) as gap_stddev_days,
        cast(totals.gap_last_orders as integer) as gap_last_orders,
        cast(totals.gap_last_days as integer) as gap_last_days,
        cast(totals.same_dow as integer) as same_dow,
        cast(totals.near_hour as integer) as near_hour,
        cast(totals.cart_position_sum as float) as cart_position_sum,
        cast(totals.cart_positions as integer) as cart_positions,
        totals.expected_so_far + coalesce(hazards.expected_purchases, 0) as expected_again
    from totals
    -- The current gap, which has not ended yet.
    left join hazards
        on
            totals.cutoff = hazards.cutoff
            and least(totals.purchases, {{ var('hazard_purchases') }}) = hazards.times_bought
            and least(totals.orders_since_last - 1, {{ var('hazard_orders') }}) = hazards.orders
),

final as (
    select
        *,
        cast(
            rank() over (partition by cutoff, user_id order by decay_5_orders desc) as integer
        ) as decay_rank
    from narrow
)

select * from final
