-- What drift is measured on: the features of some pairs at cutoff 0. A pair of rank 2^n is drawn
-- with a chance of 1 in 2^(n + 1), so that each shopper has about as many rows, and what a shopper
-- buys now counts more than what was bought once.
{{ config(materialized='table') }}

with

examples as (
    select * from {{ ref('examples') }}
),

targets as (
    select * from {{ ref('targets') }}
),

products as (
    select * from {{ ref('dim_products') }}
),

aisle_totals as (
    select * from {{ ref('aisle_totals') }}
),

shoppers as (
    select
        user_id,
        row_number() over (
            order by substr(md5(cast(user_id as varchar)), 17), user_id
        ) as place
    from targets
    where cutoff = 0
),

drawn as (
    select *
    from examples
    where
        cutoff = 0
        and (
            {% for level in range(1, 17) -%}
                pair_decay_rank < {{ 2 ** level }}
                and {{ is_drawn(['user_id', 'product_id'], 0.5 ** level) }}
                {{ 'or' if not loop.last }}
            {% endfor %}
        )
),

pairs as (
    select
        drawn.*,
        case when aisle_totals.aisle_id is not null then 1 end as known_aisle
    from drawn
    inner join shoppers on drawn.user_id = shoppers.user_id
    inner join products on drawn.product_id = products.product_id
    left join aisle_totals
        on products.aisle_id = aisle_totals.aisle_id and drawn.cutoff = aisle_totals.cutoff
    where shoppers.place <= {{ var('drift_shoppers') }}
),

final as (
    {% for feature in features_of('examples') -%}
        select
            user_id,
            product_id,
            '{{ feature }}' as feature,
            cast({{ feature }} as double) as value
        from pairs
        union all
    {% endfor -%}
    select
        user_id,
        product_id,
        'known_aisle' as feature,
        cast(known_aisle as double) as value
    from pairs
)

select * from final
