with

intervals as (
    select
        *,
        row_number() over (
            partition by level
            order by expected_units desc, department asc, name asc, product_id asc
        ) as units_rank
    from {{ ref('demand_intervals') }}
),

final as (
    select
        level,
        name,
        aisle,
        department,
        cast(units_rank as integer) as units_rank,
        pair_count,
        expected_units,
        low_units,
        high_units,
        test_pair_count,
        test_expected_units,
        test_low_units,
        test_high_units,
        test_bought_units
    from intervals
    -- All departments and aisles, and the products with the most expected units.
    where level <> 'product' or units_rank <= 100
)

select * from final
order by level, units_rank
