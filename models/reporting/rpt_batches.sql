-- A view, because each task has its scores at another time.
with

batches as (
    select
        'reorder' as task,
        *
    from {{ source('ml', 'batches') }}

    union all

    select
        'purchase' as task,
        *
    from {{ source('ml', 'purchase_batches') }}

    union all

    select
        'purchase_week' as task,
        *
    from {{ source('ml', 'purchase_week_batches') }}
),

final as (
    select
        task,
        batch_id,
        model_name,
        model_version,
        rows as row_count,
        finished_at,
        min(finished_at) over (partition by task, model_version) as model_first_at,
        finished_at = max(finished_at) over (partition by task) as is_newest
    from batches
)

select * from final
