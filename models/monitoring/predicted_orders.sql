-- The order that each shopper's newest predictions are for, and the last order that they knew. A
-- scoring run keeps these rows in `ml.awaited_orders`, because the next build adds newer orders.
with

targets as (
    select * from {{ ref('targets') }}
    where cutoff = 0
),

known as (
    select
        user_id,
        max(order_number) as last_order_number,
        max(ordered_at) as last_ordered_at
    from {{ ref('fct_orders') }}
    where not is_open
    group by user_id
),

newest_batch as (
    select
        max_by(batch_id, finished_at) as batch_id,
        max_by(model_version, finished_at) as model_version,
        max(finished_at) as predicted_at
    from {{ source('ml', 'batches') }}
),

final as (
    select
        targets.user_id,
        newest_batch.batch_id,
        newest_batch.model_version,
        newest_batch.predicted_at,
        '{{ env_var("RESTOCK_SOURCE", "complete_journey") }}' as source,
        targets.context_source,
        known.last_order_number,
        known.last_ordered_at
    from targets
    inner join known on targets.user_id = known.user_id
    cross join newest_batch
)

select * from final
