-- Every product in the catalogue or in an order. Products that are only in orders are kept as
-- unknown products.
with

items as (
    select * from {{ staged('order_items') }}
),

catalogue as (
    select
        product_id,
        product_name,
        coalesce(aisle, 'unknown') as aisle,
        coalesce(department, 'unknown') as department
    from {{ staged('products') }}
),

numbered as (
    select
        *,
        -- A narrow key, because grouping 33 million lines by name is much slower. It depends only
        -- on the catalogue, so new orders do not change it.
        dense_rank() over (order by department, aisle) as aisle_id
    from catalogue
),

bought as (
    select distinct product_id from items
),

final as (
    select
        coalesce(numbered.product_id, bought.product_id) as product_id,
        coalesce(
            numbered.product_name,
            'Unknown product ' || cast(coalesce(numbered.product_id, bought.product_id) as varchar)
        ) as product_name,
        coalesce(numbered.aisle, 'unknown') as aisle,
        coalesce(numbered.department, 'unknown') as department,
        cast(coalesce(numbered.aisle_id, 0) as integer) as aisle_id,
        numbered.product_id is not null as is_in_catalogue
    from numbered
    full outer join bought on numbered.product_id = bought.product_id
)

select * from final
