select
    user_id,
    product_id,
    batch_id,
    reason,
    reorder_probability,
    rank_in_user
from {{ ref('pair_reasons') }}
where rank_in_user <= {{ var('recommended_products') }}
