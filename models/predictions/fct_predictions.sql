select
    user_id,
    product_id,
    batch_id,
    reorder_probability,
    rank_in_user,
    in_basket
from {{ source('ml', 'predictions') }}
