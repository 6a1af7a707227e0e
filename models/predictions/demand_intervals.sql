-- Every level at once: what a product, an aisle and a department are expected to sell, and how that
-- went for test shoppers. The interval takes purchases for independent of one another; those of one
-- order are not, so it is somewhat too narrow, the more so for what holds many products.
with

demand as (
    select * from {{ ref('fct_demand') }}
),

tested as (
    select * from {{ ref('fct_test_demand') }}
),

products as (
    select * from {{ ref('dim_products') }}
),

sums as (
    select
        case
            when grouping(products.product_id) = 0 then 'product'
            when grouping(products.aisle) = 0 then 'aisle'
            else 'department'
        end as level,
        products.product_id,
        products.department,
        products.aisle,
        max(products.product_name) as product_name,
        sum(demand.shopper_count) as pair_count,
        sum(demand.basket_count) as basket_count,
        sum(cast(demand.expected_units as decimal(18, 9))) as expected_units,
        sum(cast(demand.units_variance as decimal(18, 9))) as units_variance,
        coalesce(sum(tested.shopper_count), 0) as test_pair_count,
        coalesce(sum(tested.bought_units), 0) as test_bought_units,
        coalesce(sum(cast(tested.expected_units as decimal(18, 9))), 0) as test_expected_units,
        coalesce(sum(cast(tested.units_variance as decimal(18, 9))), 0) as test_units_variance
    from demand
    inner join products on demand.product_id = products.product_id
    left join tested on demand.product_id = tested.product_id
    group by grouping sets (
        (products.department),
        (products.department, products.aisle),
        (products.department, products.aisle, products.product_id)
    )
),

final as (
    select
        level,
        product_id,
        department,
        aisle,
        case level
            when 'product' then product_name when 'aisle' then aisle else department
        end as name,
        cast(pair_count as integer) as pair_count,
        cast(basket_count as integer) as basket_count,
        cast(expected_units as double) as expected_units,
        cast({{ count_end('expected_units', 'units_variance', '-') }} as double) as low_units,
        cast({{ count_end('expected_units', 'units_variance', '+') }} as double) as high_units,
        cast(test_pair_count as integer) as test_pair_count,
        cast(test_expected_units as double) as test_expected_units,
        cast({{ count_end('test_expected_units', 'test_units_variance', '-') }} as double)
            as test_low_units,
        cast({{ count_end('test_expected_units', 'test_units_variance', '+') }} as double)
            as test_high_units,
        cast(test_bought_units as integer) as test_bought_units
    from sums
)

select * from final
