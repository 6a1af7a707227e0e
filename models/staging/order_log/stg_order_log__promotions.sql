select
    product_id,
    store_id,
    kind,
    starts_on,
    ends_on
from {{ source('order_log', 'promotions') }}
