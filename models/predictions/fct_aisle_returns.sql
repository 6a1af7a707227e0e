-- Whether a shopper's next order has a product of an aisle that the shopper bought before, and how
-- many of the past orders had one.
with

predictions as (
    select * from {{ ref('fct_predictions') }}
),

products as (
    select * from {{ ref('dim_products') }}
),

aisles as (
    select distinct
        aisle_id,
        aisle,
        department
    from products
),

effects as (
    select * from {{ ref('aisle_effects') }}
    where half = 0
),

pasts as (
    select * from {{ ref('user_aisle_totals') }}
    where cutoff = 0
),

sums as (
    select
        predictions.user_id,
        predictions.batch_id,
        products.aisle_id,
        effects.effect,
        max(predictions.reorder_probability) as likeliest,
        {{ exact_sum(hazard('predictions.reorder_probability', 'effects.effect')) }} as hazards
    from predictions
    inner join products on predictions.product_id = products.product_id
    cross join effects
    group by predictions.user_id, predictions.batch_id, products.aisle_id, effects.effect
),

final as (
    select
        sums.user_id,
        sums.aisle_id,
        aisles.aisle,
        aisles.department,
        sums.batch_id,
        cast({{ any_of('sums.hazards', 'sums.effect', 'sums.likeliest') }} as float)
            as return_probability,
        pasts.orders_since_first - 1 as past_order_count,
        cast(pasts.orders_again / cast(nullif(pasts.orders_since_first - 1, 0) as double) as float)
            as past_return_share,
        cast((pasts.orders - 1) / cast(nullif(pasts.orders_since_first - 1, 0) as double) as float)
            as past_order_share
    from sums
    inner join aisles on sums.aisle_id = aisles.aisle_id
    inner join pasts on sums.user_id = pasts.user_id and sums.aisle_id = pasts.aisle_id
)

select * from final
order by user_id, aisle_id
