select
    product_id,
    product_name,
    aisle,
    department
from {{ source('order_log', 'products') }}
