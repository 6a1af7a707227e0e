-- What `fct_aisle_returns` would have said of the last orders of test shoppers, and what happened.
with

predictions as (
    select * from {{ ref('fct_test_predictions') }}
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
),

sums as (
    select
        predictions.run_id,
        predictions.user_id,
        products.aisle_id,
        effects.effect,
        max(predictions.reorder_probability) as likeliest,
        max(case when predictions.was_bought then 1 else 0 end) as was_bought,
        {{ exact_sum(hazard('predictions.reorder_probability', 'effects.effect')) }} as hazards
    from predictions
    inner join products on predictions.product_id = products.product_id
    inner join effects on {{ half_of('predictions.user_id') }} = effects.half
    group by predictions.run_id, predictions.user_id, products.aisle_id, effects.effect
),

final as (
    select
        sums.run_id,
        sums.user_id,
        sums.aisle_id,
        aisles.aisle,
        aisles.department,
        cast({{ any_of('sums.hazards', 'sums.effect', 'sums.likeliest') }} as float)
            as return_probability,
        sums.was_bought = 1 as has_returned
    from sums
    inner join aisles on sums.aisle_id = aisles.aisle_id
)

select * from final
order by user_id, aisle_id
