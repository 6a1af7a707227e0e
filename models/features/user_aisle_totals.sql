-- Sums over a shopper's pairs and past orders in an aisle.
-- depends_on: {{ ref('targets') }} (by_shopper divides its shoppers into blocks)
{{ config(materialized='by_shopper') }}

with

past_items as (
    select * from {{ ref('past_items') }}
),

pair_totals as (
    select * from {{ ref('pair_totals') }}
),

-- One bit for each order, 62 orders to a number: this takes less time than a row for each order.
aisle_orders as (
    select
        cutoff,
        user_id,
        aisle_id,
        bit_count(bit_or(cast(1 as bigint) << (order_number % 62))) as orders,
        bit_count(bit_or(
            case when purchase_number > 1 then cast(1 as bigint) << (order_number % 62) else 0 end
        )) as orders_again,
        max(orders_ago) as orders_since_first
    from past_items
    group by cutoff, user_id, aisle_id, order_number // 62
),

orders as (
    select
        cutoff,
        user_id,
        aisle_id,
        sum(orders) as orders,
        sum(orders_again) as orders_again,
        max(orders_since_first) as orders_since_first
    from aisle_orders
    group by cutoff, user_id, aisle_id
),

pairs as (
    select
        cutoff,
        user_id,
        aisle_id,
        count(*) as products,
        sum(purchases) as purchases,
        sum(purchases_again) as purchases_again,
        min(orders_since_last) as orders_since_last,
        min(days_since_last) as days_since_last,
        max(days_since_first) as days_since_first,
        {{ exact_sum('decay_5_orders', bits=40) }} as decay_5_orders,
        sum(expected_again) as expected_again
    from pair_totals
    group by cutoff, user_id, aisle_id
),

final as (
    select
        orders.cutoff,
        orders.user_id,
        orders.aisle_id,
        cast(pairs.products as integer) as products,
        cast(pairs.purchases as integer) as purchases,
        cast(pairs.purchases_again as integer) as purchases_again,
        cast(orders.orders as integer) as orders,
        cast(orders.orders_again as integer) as orders_again,
        cast(orders.orders_since_first as integer) as orders_since_first,
        pairs.orders_since_last,
        pairs.days_since_last,
        pairs.days_since_first,
        cast(pairs.decay_5_orders as float) as decay_5_orders,
        pairs.expected_again
    from orders
    inner join pairs
        on
            orders.cutoff = pairs.cutoff
            and orders.user_id = pairs.user_id
            and orders.aisle_id = pairs.aisle_id
)

select * from final
