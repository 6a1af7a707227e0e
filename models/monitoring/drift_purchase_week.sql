{{ config(materialized='table', tags=['purchase']) }}

{{ drift(
    'purchase_week', ref('drift_moments'), 'cutoff_at', ref('fct_weekly_propensity'),
    'purchase_probability'
) }}
