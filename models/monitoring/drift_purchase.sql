{{ config(materialized='table', tags=['purchase']) }}

{{ drift(
    'purchase', ref('drift_moments'), 'cutoff_at', ref('fct_purchase_propensity'),
    'purchase_probability'
) }}
