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

rules as (
    select * from {{ ref('retrain_rules') }}
    where rule = 'feature_psi'
),

thresholds as (
    select max(threshold) as threshold from rules
),

final as (
    select
        drift.task,
        drift.model_version,
        drift.feature,
        drift.kind,
        drift.psi,
        thresholds.threshold,
        coalesce(drift.kind <> 'context' and drift.psi >= thresholds.threshold, false)
            as is_drifting,
        drift.trained_missing_share,
        drift.current_missing_share,
        drift.trained_median,
        drift.current_median,
        drift.row_count
    from drift
    cross join thresholds
)

select * from final
