select
    order_id,
    product_id,
    add_to_cart_order as cart_position,
    cast(null as decimal(18, 4)) as quantity,
    cast(null as decimal(18, 4)) as sales_value
from {{ source('instacart', 'order_products') }}
