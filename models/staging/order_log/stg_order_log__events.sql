select
    user_id,
    event_id,
    occurred_at,
    known_at,
    event_type,
    product_id,
    session_id,
    value as event_value
from {{ source('order_log', 'events') }}
