-- The first products by units and by mean probability, and all that are rising or fading.
with

products as (
    select * from {{ ref('demand_intervals') }}
    where level = 'product'
),

trends as (
    select * from {{ ref('fct_product_trends') }}
),

compared as (
    select
        products.*,
        products.expected_units / products.pair_count as mean_probability,
        -- A mean over few shoppers says little about a product.
        products.pair_count >= {{ var('product_shoppers') }} as is_common,
        trends.trend,
        trends.recent_units,
        trends.q_value
    from products
    left join trends on products.product_id = trends.product_id
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
            when trend = 'rising'
                then row_number() over (
                    partition by trend order by recent_units - expected_units, product_id
                )
        end as rising_rank,
        case
            when trend = 'fading'
                then row_number() over (
                    partition by trend order by expected_units - recent_units, product_id
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
        trend,
        recent_units,
        q_value,
        cast(units_rank as integer) as units_rank,
        cast(probability_rank as integer) as probability_rank,
        cast(rising_rank as integer) as rising_rank,
        cast(fading_rank as integer) as fading_rank
    from ranked
    where units_rank <= 250 or probability_rank <= 250 or trend in ('rising', 'fading')
)

select * from final
order by units_rank
