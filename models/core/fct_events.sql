-- Purchases come from one place: the event log if it has any, else the orders. Counting both would
-- count a purchase twice. The intake leaves purchases out of the log of a shop that has orders. A
-- log without orders keeps its purchases: the orders made from it lack purchases without a product,
-- and do not tell when a purchase became known.
{{ config(
    materialized='incremental', incremental_strategy='append', on_schema_change='fail',
    pre_hook=["delete from ml.event_days", "{{ forget('known_at >= ' ~ rebuilt_from()) }}"]
) }}

with

events as (
    select * from {{ staged('events') }}
),

logged_purchases as (
    select * from events
    where event_type = 'purchase'
),

orders as (
    select * from {{ ref('fct_orders') }}
    where not is_open and ordered_at is not null
),

order_items as (
    select * from {{ staged('order_items') }}
),

purchases as (
    select
        orders.user_id,
        cast(orders.order_id as varchar) as event_id,
        orders.ordered_at as occurred_at,
        orders.ordered_at as known_at,
        'purchase' as event_type,
        cast(null as product_id_type) as product_id,
        cast(null as varchar) as session_id,
        cast(sum(order_items.sales_value) as double) as event_value,
        cast(count(*) as integer) as item_count
    from orders
    inner join order_items on orders.order_id = order_items.order_id
    where (select count(*) from logged_purchases) = 0
    group by orders.user_id, orders.order_id, orders.ordered_at
),

logged as (
    select
        user_id,
        -- The ids of views and carts would be half of the work to write this table.
        case when event_type = 'purchase' then event_id end as event_id,
        occurred_at,
        known_at,
        event_type,
        product_id,
        session_id,
        event_value,
        -- A log may have one purchase event per product.
        cast(
            case when event_type = 'purchase' and product_id is not null then 1 end as integer
        ) as item_count
    from events
),

final as (
    select * from purchases
    union all
    select * from logged
)

select * from final
{% if is_incremental() %}where known_at >= {{ rebuilt_from() }}{% endif %}
