-- A view, because the scores of each task rebuild one of its tables.
{{ config(materialized='view') }}

with

drift as (
    select * from {{ ref('drift_reorder') }}
    union all
    select * from {{ ref('drift_purchase') }}
    union all
    select * from {{ ref('drift_purchase_week') }}
),

final as (
    select
        task,
        model_version,
        feature,
        kind,
        psi,
        cast({{ var('drift_psi') }} as double) as threshold,
        coalesce(kind <> 'context' and psi > {{ var('drift_psi') }}, false) as is_drifting,
        trained_missing_share,
        current_missing_share,
        trained_median,
        current_median,
        row_count
    from drift
)

select * from final
