-- A view, as the history is.
with

history as (
    select * from {{ ref('rpt_history') }}
),

batches as (
    select
        batch_id,
        row_number() over (order by max(finished_at) desc, batch_id desc) as place
    from history
    group by batch_id
),

placed as (
    select
        history.*,
        batches.place
    from history
    inner join batches on history.batch_id = batches.batch_id
),

newest as (
    select * from placed
    where place = 1
),

previous as (
    select * from placed
    where place = 2
),

final as (
    select
        newest.kpi,
        newest.batch_id,
        newest.finished_at,
        newest.value,
        newest.value_text,
        previous.batch_id as previous_batch_id,
        previous.finished_at as previous_finished_at,
        previous.value as previous_value,
        previous.value_text as previous_value_text,
        newest.value - previous.value as change
    from newest
    left join previous on newest.kpi = previous.kpi
)

select * from final
order by kpi
