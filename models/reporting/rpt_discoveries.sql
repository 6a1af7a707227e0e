-- Products by the shoppers who have never bought them and are expected to, among those on whose
-- list they are.
with

discoveries as (
    select * from {{ ref('fct_discoveries') }}
),

products as (
    select * from {{ ref('dim_products') }}
),

summed as (
    select
        product_id,
        count(*) as shopper_count,
        {{ exact_sum('purchase_probability') }} as expected_shoppers
    from discoveries
    group by product_id
),

final as (
    select
        summed.product_id,
        products.product_name,
        products.aisle,
        cast(summed.shopper_count as integer) as shopper_count,
        cast(summed.expected_shoppers as double) as expected_shoppers
    from summed
    inner join products on summed.product_id = products.product_id
)

select * from final
order by expected_shoppers desc, product_id asc
