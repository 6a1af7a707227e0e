-- Grades the forecasts that wait for their outcome, once their week has been seen to its end:
-- `covered_days` decides that for labels too. As in the test of the forecasts, only shoppers
-- who were known at the cutoff count. A name that has left the catalogue is not graded.
with

forecasts as (
    select * from {{ source('ml', 'awaited_demand') }}
),

covered as (
    select until_day from {{ ref('covered_days') }}
),

weeks as (
    select distinct
        forecasts.cutoff_at,
        forecasts.window_end_at
    from forecasts
    inner join covered on forecasts.window_end_at <= cast(covered.until_day as timestamp)
),

shoppers as (
    select
        user_id,
        min(day) as first_day
    from {{ ref('user_days') }}
    group by user_id
),

orders as (
    select * from {{ ref('fct_orders') }}
    where not is_open
),

order_items as (
    select * from {{ ref('fct_order_items') }}
),

products as (
    select * from {{ ref('dim_products') }}
),

placed as (
    select
        weeks.cutoff_at,
        orders.order_id,
        orders.user_id
    from orders
    inner join weeks
        on
            orders.ordered_at >= weeks.cutoff_at
            and orders.ordered_at < weeks.window_end_at
    inner join shoppers
        on
            orders.user_id = shoppers.user_id
            and shoppers.first_day < cast(weeks.cutoff_at as date)
),

sold as (
    select
        placed.cutoff_at,
        order_items.product_id,
        {{ exact_sum('cast(coalesce(order_items.quantity, 1) as double)') }} as units
    from order_items
    inner join placed
        on
            order_items.user_id = placed.user_id
            and order_items.order_id = placed.order_id
    group by placed.cutoff_at, order_items.product_id
),

levels as (
    select 'department' as level
    union all
    select 'aisle' as level
    union all
    select 'product' as level
),

-- What names a row at its level, and nothing else: a product can move to another aisle.
named as (
    select
        levels.level,
        products.product_id,
        case when levels.level = 'product' then '' else products.department end as department,
        case when levels.level = 'aisle' then products.aisle else '' end as aisle,
        case when levels.level = 'product' then cast(products.product_id as varchar) else '' end
            as product
    from products
    cross join levels
),

observed as (
    select
        weeks.cutoff_at,
        named.level,
        named.department,
        named.aisle,
        named.product,
        {{ exact_sum('coalesce(sold.units, 0)') }} as observed_units
    from named
    cross join weeks
    left join sold
        on
            named.product_id = sold.product_id
            and weeks.cutoff_at = sold.cutoff_at
    group by weeks.cutoff_at, named.level, named.department, named.aisle, named.product
),

final as (
    select
        forecasts.*,
        observed.observed_units
    from observed
    inner join forecasts
        on
            observed.cutoff_at = forecasts.cutoff_at
            and observed.level = forecasts.level
            and observed.department
            = case when forecasts.level = 'product' then '' else forecasts.department end
            and observed.aisle
            = case when forecasts.level = 'aisle' then forecasts.aisle else '' end
            and observed.product = coalesce(forecasts.product_id, '')
)

select * from final
