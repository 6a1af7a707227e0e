-- The effect that makes what test shoppers bought likeliest, of a grid from 0 to 4. For a half of
-- the test shoppers, the other half decides, so that no order is part of its own expectation.
with

predictions as (
    select * from {{ ref('fct_test_predictions') }}
),

products as (
    select * from {{ ref('dim_products') }}
),

pairs as (
    select
        predictions.user_id,
        products.aisle_id,
        predictions.reorder_probability as probability,
        case when predictions.was_bought then 1 else 0 end as was_bought,
        {{ half_of('predictions.user_id') }} as half
    from predictions
    inner join products on predictions.product_id = products.product_id
),

steps (step) as (
    {{ numbers_to(16) }}
),

effects as (
    select cast(step as double) / 4 as effect from steps
),

aisles as (
    select
        pairs.user_id,
        pairs.aisle_id,
        pairs.half,
        effects.effect,
        max(pairs.was_bought) as was_bought,
        max(pairs.probability) as likeliest,
        {{ exact_sum(hazard('pairs.probability', 'effects.effect')) }} as hazards
    from pairs
    cross join effects
    group by pairs.user_id, pairs.aisle_id, pairs.half, effects.effect
),

returns as (
    select
        half,
        effect,
        was_bought,
        {{ any_of('hazards', 'effect', 'likeliest') }} as probability
    from aisles
),

likelihoods as (
    select
        half,
        effect,
        {{ exact_sum(
            'ln(greatest(case when was_bought = 1 then probability else 1 - probability end, 1e-9))'
        ) }} as log_likelihood
    from returns
    group by half, effect
),

-- Half 0 is everyone at cutoff 0, for whom both halves decide.
halves (half) as (
    {{ numbers_to(2) }}
),

sums as (
    select
        halves.half,
        likelihoods.effect,
        sum(likelihoods.log_likelihood) as log_likelihood
    from halves
    inner join likelihoods on halves.half <> likelihoods.half
    group by halves.half, likelihoods.effect
),

ranked as (
    select
        half,
        effect,
        row_number() over (partition by half order by log_likelihood desc, effect asc) as place
    from sums
),

final as (
    select
        cast(halves.half as integer) as half,
        cast(coalesce(ranked.effect, 0) as double) as effect
    from halves
    left join ranked on halves.half = ranked.half and ranked.place = 1
)

select * from final
order by half
