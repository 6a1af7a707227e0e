-- Joins the three files of the catalogue, so that both sources have the same columns.
with

products as (
    select * from {{ source('instacart', 'products') }}
),

aisles as (
    select * from {{ source('instacart', 'aisles') }}
),

departments as (
    select * from {{ source('instacart', 'departments') }}
),

final as (
    select
        products.product_id,
        products.product_name,
        aisles.aisle,
        departments.department
    from products
    left join aisles on products.aisle_id = aisles.aisle_id
    left join departments on products.department_id = departments.department_id
)

select * from final
