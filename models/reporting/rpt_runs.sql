-- A view, because a run records the runs before it after this model is built.
with

runs as (
    select * from {{ source('ml', 'runs') }}
),

final as (
    select
        started_at,
        cast({{ dbt.datediff('started_at', 'finished_at', 'second') }} as double) as seconds,
        outcome,
        decision,
        reason,
        error,
        release,
        batch_id,
        started_at = max(started_at) over () as is_newest
    from runs
)

select * from final
order by started_at desc
