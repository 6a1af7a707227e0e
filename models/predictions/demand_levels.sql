-- Weekly forecasts by product, aisle and department. At each level and size, the
-- forecast from shoppers is published if its errors are lower than those of the naive forecast: in
-- total, and in most of the closed weeks. If not, the naive forecast is published.
with

product_weeks as (
    select * from {{ ref('demand_weeks') }}
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

named as (
    select
        levels.level,
        products.department,
        case when levels.level <> 'department' then products.aisle end as aisle,
        case when levels.level = 'product' then products.product_name end as product_name,
        case when levels.level = 'product' then products.product_id end as product_id,
        product_weeks.cutoff_at,
        product_weeks.is_coming,
        product_weeks.sold_units,
        product_weeks.naive_units,
        product_weeks.trend_units,
        product_weeks.first_time_units,
        product_weeks.repeat_units
    from product_weeks
    inner join products on product_weeks.product_id = products.product_id
    cross join levels
),

sums as (
    select
        level,
        department,
        aisle,
        product_name,
        product_id,
        cutoff_at,
        is_coming,
        {{ exact_sum('sold_units') }} as sold_units,
        {{ exact_sum('naive_units') }} as naive_units,
        greatest(0, {{ exact_sum('trend_units') }}) as trend_units,
        {{ exact_sum('first_time_units') }} as first_time_units,
        {{ exact_sum('repeat_units') }} + {{ exact_sum('first_time_units') }} as shopper_units
    from named
    group by level, department, aisle, product_name, product_id, cutoff_at, is_coming
),

sized as (
    select
        *,
        case
            when naive_units < 5 then 'under 5'
            when naive_units < 20 then '5 to 19'
            else '20 or more'
        end as size
    from sums
),

errors as (
    select
        level,
        size,
        cutoff_at,
        {{ exact_sum('abs(sold_units - shopper_units)') }} as shopper_error,
        {{ exact_sum('abs(sold_units - naive_units)') }} as naive_error
    from sized
    where not is_coming
    group by level, size, cutoff_at
),

methods as (
    select
        level,
        size,
        case
            when
                sum(shopper_error) < sum(naive_error)
                and 2 * sum(case when shopper_error < naive_error then 1 else 0 end) > count(*)
                then 'shoppers'
            else 'naive'
        end as method
    from errors
    group by level, size
),

final as (
    select
        sized.*,
        coalesce(methods.method, 'naive') as method,
        case when methods.method = 'shoppers' then sized.shopper_units else sized.naive_units end
            as expected_units
    from sized
    left join methods
        on
            sized.level = methods.level
            and sized.size = methods.size
)

select * from final
