-- What the drift of the purchase tasks is measured on: the features of some shoppers at cutoff 0.
-- Both horizons have them.
{{ config(materialized='table', tags=['purchase']) }}

with

examples as (
    select * from {{ ref('purchase_examples') }}
    where cutoff = 0 and horizon_days = 1 and not is_robot
),

shoppers as (
    select
        user_id,
        row_number() over (
            order by substr(md5(cast(user_id as varchar)), 17), user_id
        ) as place
    from examples
),

moments as (
    select examples.*
    from examples
    inner join shoppers on examples.user_id = shoppers.user_id
    where shoppers.place <= {{ var('drift_shoppers') }}
),

final as (
    {% for feature in features_of('purchase_examples') -%}
        select
            user_id,
            cutoff_at,
            '{{ feature }}' as feature,
            cast({{ feature }} as double) as value
        from moments
        {{ 'union all' if not loop.last }}
    {% endfor %}
)

select * from final
