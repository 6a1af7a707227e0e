-- A view, because a run records the runs before it after this model is built.
with

runs as (
    select * from {{ source('ml', 'runs') }}
),

durations as (
    select
        started_at,
        sum(seconds) as seconds
    from {{ source('ml', 'run_steps') }}
    group by started_at
),

final as (
    select
        runs.started_at,
        durations.seconds,
        runs.outcome,
        runs.decision,
        runs.reason,
        runs.error,
        runs.release,
        runs.batch_id,
        runs.started_at = max(runs.started_at) over () as is_newest
    from runs
    left join durations on runs.started_at = durations.started_at
)

select * from final
