-- The first products of three rankings. A product is fading if even the upper end of its expected
-- units is below the units bought again in the last orders.
with

products as (
    select * from {{ ref('demand_intervals') }}
    where level = 'product'
),

orders as (
    select * from {{ ref('fct_orders') }}
    where not is_open
),

order_items as (
    select * from {{ ref('fct_order_items') }}
),

last_orders as (
    select max_by(order_id, order_number) as order_id
    from orders
    group by user_id
),

returned as (
    select
        order_items.product_id,
        count(*) as units
    from order_items
    inner join last_orders on order_items.order_id = last_orders.order_id
    where order_items.purchase_number > 1
    group by order_items.product_id
),

compared as (
    select
        products.*,
        products.expected_units / products.pair_count as mean_probability,
        coalesce(returned.units, 0) as last_units,
        -- A mean over few shoppers says little about a product.
        products.pair_count >= {{ var('product_shoppers') }} as is_common,
        products.high_units < coalesce(returned.units, 0) as is_fading
    from products
    left join returned on products.product_id = returned.product_id
),

ranked as (
    select
        *,
        row_number() over (order by expected_units desc, product_id asc) as units_rank,
        case
            when is_common
                then row_number() over (
                    order by is_common desc, mean_probability desc, product_id asc
                )
        end as probability_rank,
        case
            when is_fading
                then row_number() over (
                    order by is_fading desc, last_units - expected_units desc, product_id
                )
        end as fading_rank
    from compared
),

final as (
    select
        product_id,
        name as product_name,
        aisle,
        department,
        pair_count as shopper_count,
        basket_count,
        mean_probability as mean_probability_share,
        expected_units,
        low_units,
        high_units,
        cast(last_units as integer) as last_units,
        cast(units_rank as integer) as units_rank,
        cast(probability_rank as integer) as probability_rank,
        cast(fading_rank as integer) as fading_rank
    from ranked
    where units_rank <= 50 or probability_rank <= 50 or fading_rank <= 50
)

select * from final
order by units_rank
