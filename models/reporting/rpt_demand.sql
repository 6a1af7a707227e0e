with

demand as (
    select
        *,
        row_number() over (
            partition by level
            order by expected_units desc, department asc, name asc, product_id asc
        ) as units_rank
    from {{ ref('fct_demand') }}
),

final as (
    select
        level,
        name,
        aisle,
        department,
        cast(units_rank as integer) as units_rank,
        cutoff_at,
        window_end_at,
        method,
        expected_units,
        low_units,
        high_units,
        naive_units,
        first_time_share
    from demand
    -- All departments and aisles, and the products with the most expected units.
    where level <> 'product' or units_rank <= 250
)

select * from final
order by level, units_rank
