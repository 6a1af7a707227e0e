with

outcomes as (
    select * from {{ source('ml', 'demand_outcomes') }}
),

final as (
    select
        level,
        product_id,
        department,
        aisle,
        name,
        cutoff_at,
        window_end_at,
        method,
        expected_units,
        low_units,
        high_units,
        observed_units,
        observed_units between low_units and high_units as is_within
    from outcomes
)

select * from final
