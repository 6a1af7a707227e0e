-- Shoppers expected to buy again from products, aisles and departments, and a comparison for test
-- shoppers. A unit here is one shopper and one product. The
-- interval assumes independent purchases. Purchases in one order are not independent, so the
-- interval is somewhat too narrow, most of all for levels with many products.
with

demand as (
    select * from {{ ref('fct_expected_shoppers') }}
),

tested as (
    select * from {{ ref('fct_test_expected_shoppers') }}
),

products as (
    select * from {{ ref('dim_products') }}
),

levels as (
    select 'department' as level
    union all
    select 'aisle' as level
    union all
    select 'product' as level
),

lines as (
    select
        levels.level,
        products.department,
        case when levels.level <> 'department' then products.aisle end as aisle,
        case when levels.level = 'product' then products.product_name end as product_name,
        case when levels.level = 'product' then demand.product_id end as product_id,
        demand.shopper_count,
        demand.basket_count,
        demand.expected_shoppers as expected_units,
        demand.shoppers_variance as units_variance,
        coalesce(tested.shopper_count, 0) as test_shopper_count,
        coalesce(tested.bought_shoppers, 0) as test_bought_units,
        coalesce(tested.expected_shoppers, 0) as test_expected_units,
        coalesce(tested.shoppers_variance, 0) as test_units_variance
    from demand
    inner join products on demand.product_id = products.product_id
    left join tested on demand.product_id = tested.product_id
    cross join levels
),

sums as (
    select
        level,
        product_id,
        department,
        aisle,
        product_name,
        sum(shopper_count) as pair_count,
        sum(basket_count) as basket_count,
        {{ exact_sum('expected_units') }} as expected_units,
        {{ exact_sum('units_variance') }} as units_variance,
        sum(test_shopper_count) as test_pair_count,
        sum(test_bought_units) as test_bought_units,
        {{ exact_sum('test_expected_units') }} as test_expected_units,
        {{ exact_sum('test_units_variance') }} as test_units_variance
    from lines
    group by level, product_id, department, aisle, product_name
),

final as (
    select
        level,
        product_id,
        department,
        aisle,
        case
            when level = 'department' then department
            when level = 'aisle' then aisle
            -- Of products with the same name, only the best seller has the name without its ID.
            when
                row_number() over (
                    partition by level, product_name order by expected_units desc, product_id asc
                ) = 1
                then product_name
            else product_name || ' (' || cast(product_id as varchar) || ')'
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
