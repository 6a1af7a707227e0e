select
    user_id,
    product_id,
    batch_id,
    reason,
    reorder_probability,
    rank_in_user as basket_position
from {{ ref('pair_reasons') }}
where in_basket
