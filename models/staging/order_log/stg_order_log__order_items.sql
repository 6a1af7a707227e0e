-- A product scanned twice in one order is one item, at its first position in the cart.
with

lines as (
    select * from {{ source('order_log', 'order_lines') }}
),

final as (
    select
        order_id,
        product_id,
        min(cart_position) as cart_position,
        cast(sum(quantity) as decimal(18, 4)) as quantity,
        cast(
            sum(coalesce(sales_value, price * coalesce(quantity, 1))) as decimal(18, 4)
        ) as sales_value
    from lines
    group by order_id, product_id
)

select * from final
