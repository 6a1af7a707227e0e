-- The products that are due for most shoppers now, among their recommendations.
with

reasons as (
    select * from {{ ref('pair_reasons') }}
    where is_due and rank_in_user <= {{ var('recommended_products') }}
),

products as (
    select * from {{ ref('demand_intervals') }}
    where level = 'product'
),

due as (
    select
        product_id,
        count(*) as shopper_count,
        {{ exact_sum('reorder_probability') }} as expected_shoppers
    from reasons
    group by product_id
),

final as (
    select
        due.product_id,
        products.name as product_name,
        products.aisle,
        cast(due.shopper_count as integer) as due_shopper_count,
        cast(due.expected_shoppers as double) as expected_shoppers,
        cast(
            row_number() over (order by due.shopper_count desc, due.product_id asc) as integer
        ) as due_rank
    from due
    inner join products on due.product_id = products.product_id
)

select * from final
where due_rank <= 250
order by due_rank
