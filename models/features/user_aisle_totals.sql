-- What the pairs of a shopper and the past orders say of an aisle, summed up once.
{{ config(materialized='by_shopper') }}

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

aisle_orders as (
    select distinct
        cutoff,
        user_id,
        aisle_id,
        order_number,
        order_day
    from past_items
),

orders as (
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

pairs as (
    select
        cutoff,
        user_id,
        aisle_id,
        count(*) as products,
        sum(purchases) as purchases,
        sum(purchases_again) as purchases_again,
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
        cast(targets.order_number - orders.last_order_number as integer) as orders_since_last,
        cast(targets.order_day - orders.last_order_day as integer) as days_since_last,
        cast(targets.order_day - orders.first_order_day as integer) as days_since_first,
        cast(pairs.decay_5_orders as float) as decay_5_orders,
        pairs.expected_again
    from orders
    inner join pairs
        on
            orders.cutoff = pairs.cutoff
            and orders.user_id = pairs.user_id
            and orders.aisle_id = pairs.aisle_id
    inner join targets on orders.cutoff = targets.cutoff and orders.user_id = targets.user_id
)

select * from final
