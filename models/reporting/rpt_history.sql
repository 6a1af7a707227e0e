-- A view, because the KPIs of a batch are added after its tables are built.
with

kpis as (
    select * from {{ source('ml', 'kpis') }}
),

final as (
    select
        batch_id,
        finished_at,
        kpi,
        value,
        value_text
    from kpis
)

select * from final
order by finished_at, batch_id, kpi
