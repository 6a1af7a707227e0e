-- Every product that was offered or bought. One that was bought but is in no catalogue is kept,
-- and called unknown.
with

items as (
    select * from {{ staged('order_items') }}
),

catalogue as (
    select * from {{ staged('products') }}
),

bought as (
    select distinct product_id from items
),

named as (
    select
        coalesce(catalogue.product_id, bought.product_id) as product_id,
        coalesce(
            catalogue.product_name,
            'Unknown product ' || cast(coalesce(catalogue.product_id, bought.product_id) as varchar)
        ) as product_name,
        coalesce(catalogue.aisle, 'unknown') as aisle,
        coalesce(catalogue.department, 'unknown') as department,
        catalogue.product_id is not null as is_in_catalogue
    from catalogue
    full outer join bought on catalogue.product_id = bought.product_id
),

final as (
    select
        product_id,
        product_name,
        aisle,
        department,
        -- A narrow key: grouping 33 million lines by a name would cost far more.
        cast(dense_rank() over (order by department, aisle) as integer) as aisle_id,
        is_in_catalogue
    from named
)

select * from final
