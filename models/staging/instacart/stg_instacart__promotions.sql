-- Instacart has no promotions, and no dates that they could be on.
select
    product_id,
    cast(null as varchar) as kind,
    cast(null as date) as starts_on,
    cast(null as date) as ends_on,
    cast(null as integer) as promotion_count
from {{ source('instacart', 'products') }}
where 1 = 0
