-- A view, because each task has its scores at another time.
with

batches as (
    {% for task, scope in [
        ('reorder', ''), ('purchase', 'purchase_'), ('purchase_week', 'purchase_week_')
    ] -%}
    {{ 'union all' if not loop.first }}
    select
        '{{ task }}' as task,
        batch_id,
        model_name,
        model_version,
        rows,
        finished_at
    from {{ source('ml', scope ~ 'batches') }}
    {% endfor %}
),

final as (
    select
        task,
        batch_id,
        model_name,
        model_version,
        cast(rows as bigint) as row_count,
        finished_at,
        min(finished_at) over (partition by task, model_version) as model_first_at,
        finished_at = max(finished_at) over (partition by task) as is_newest
    from batches
)

select * from final
order by finished_at desc
