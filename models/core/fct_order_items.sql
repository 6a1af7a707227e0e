-- Sorted by shopper and product, so that a query for some shoppers reads only their part of the
-- table. purchase_number, gap_orders and gap_days look only at earlier orders: they hold at every
-- cutoff.
with

items as (
    select * from {{ staged('order_items') }}
),

orders as (
    select * from {{ ref('fct_orders') }}
),

products as (
    select * from {{ ref('dim_products') }}
),

sizes as (
    select
        order_id,
        count(*) as order_item_count
    from items
    group by order_id
),

lines as (
    select
        orders.user_id,
        items.order_id,
        items.product_id,
        products.aisle_id,
        orders.order_number,
        orders.order_day,
        orders.order_dow,
        orders.order_hour,
        orders.days_since_prior_order,
        items.cart_position,
        items.quantity,
        items.sales_value,
        sizes.order_item_count
    from items
    inner join orders on items.order_id = orders.order_id
    inner join sizes on items.order_id = sizes.order_id
    inner join products on items.product_id = products.product_id
),

purchases as (
    {{ purchase_history('lines') }}
),

final as (
    select
        user_id,
        order_id,
        product_id,
        aisle_id,
        order_number,
        order_day,
        order_dow,
        order_hour,
        days_since_prior_order,
        cast(cart_position as integer) as cart_position,
        quantity,
        sales_value,
        cast(order_item_count as integer) as order_item_count,
        cast(purchase_number as integer) as purchase_number,
        cast(gap_orders as integer) as gap_orders,
        cast(gap_days as integer) as gap_days
    from purchases
)

select * from final
