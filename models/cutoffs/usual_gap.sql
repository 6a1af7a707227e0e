{{ config(tags=['population']) }}

with

orders as (
    select * from {{ ref('fct_orders') }}
),

final as (
    select cast(round(median(days_since_prior_order)) as integer) as days
    from orders
    where not is_open
)

select * from final
