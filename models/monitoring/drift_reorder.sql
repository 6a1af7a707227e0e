{{ config(materialized='table') }}

{{ drift(
    'reorder', ref('drift_pairs'), 'product_id', ref('fct_predictions'), 'reorder_probability'
) }}
