select
    order_id,
    user_id,
    order_number,
    order_dow,
    order_hour_of_day as order_hour,
    cast(days_since_prior_order as integer) as days_since_prior_order,
    eval_set = 'test' as is_open,
    cast(null as timestamp) as ordered_at
from {{ source('instacart', 'orders') }}
