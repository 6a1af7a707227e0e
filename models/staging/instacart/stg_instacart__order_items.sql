select
    order_id,
    product_id,
    add_to_cart_order as cart_position
from {{ source('instacart', 'order_products') }}
