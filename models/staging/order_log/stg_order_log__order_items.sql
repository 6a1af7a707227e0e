-- A product scanned twice in one order is one item, at its first position in the cart.
select
    order_id,
    product_id,
    min(cart_position) as cart_position
from {{ source('order_log', 'order_lines') }}
group by order_id, product_id
