-- Instacart has no events, and no dates either: without them nobody can say when a shopper buys.
select
    user_id,
    cast(null as varchar) as event_id,
    cast(null as timestamp) as occurred_at,
    cast(null as timestamp) as known_at,
    cast(null as varchar) as event_type,
    cast(null as bigint) as product_id,
    cast(null as varchar) as session_id,
    cast(null as double) as event_value
from {{ source('instacart', 'orders') }}
where 1 = 0
