select
    user_id,
    product_id,
    batch_id,
    reorder_probability,
    rank_in_user as basket_position
from {{ ref('fct_predictions') }}
where in_basket
order by user_id, basket_position
