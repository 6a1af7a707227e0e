-- Events after the scoring date are left out, as in stg_order_log__orders.
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
where cast(known_at as date) <= coalesce({{ as_of_date() }}, date '9999-12-31')
