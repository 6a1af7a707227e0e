-- A view, because several steps write the tables that it reads.
with

orders as (
    select * from {{ ref('fct_orders') }}
),

results as (
    select * from {{ source('ml', 'test_results') }}
),

batches as (
    select * from {{ source('ml', 'batches') }}
),

final as (
    select
        1 as position,
        'Newest order' as event,
        max(ordered_at) as happened_at
    from orders
    union all
    select
        2 as position,
        'Tables built and checked' as event,
        max(finished_at) as happened_at
    from results
    union all
    select
        3 as position,
        'Scores published' as event,
        max(finished_at) as happened_at
    from batches
)

select * from final
