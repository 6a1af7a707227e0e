-- A view, because a run records the runs before it after this model is built.
with

steps as (
    select * from {{ source('ml', 'run_steps') }}
),

final as (
    select
        started_at,
        position,
        step,
        rows as row_count,
        seconds
    from steps
)

select * from final
