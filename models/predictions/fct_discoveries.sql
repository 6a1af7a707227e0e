select
    user_id,
    product_id,
    batch_id,
    purchase_probability,
    rank_in_user
from {{ source('ml', 'discoveries') }}
