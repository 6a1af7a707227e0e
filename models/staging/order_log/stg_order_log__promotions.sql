-- A promotion may have a row for each store.
select
    product_id,
    kind,
    starts_on,
    ends_on,
    cast(count(*) as integer) as promotion_count
from {{ source('order_log', 'promotions') }}
group by product_id, kind, starts_on, ends_on
