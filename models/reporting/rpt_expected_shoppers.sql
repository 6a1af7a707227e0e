with

intervals as (
    select
        *,
        row_number() over (
            partition by level
            order by expected_units desc, department asc, name asc, product_id asc
        ) as shoppers_rank
    from {{ ref('demand_intervals') }}
),

final as (
    select
        level,
        name,
        aisle,
        department,
        cast(shoppers_rank as integer) as shoppers_rank,
        pair_count,
        expected_units as expected_shoppers,
        low_units as low_shoppers,
        high_units as high_shoppers,
        test_pair_count,
        test_expected_units as test_expected_shoppers,
        test_low_units as test_low_shoppers,
        test_high_units as test_high_shoppers,
        test_bought_units as test_bought_shoppers
    from intervals
    -- All departments and aisles, and the products with the most expected shoppers.
    where level <> 'product' or shoppers_rank <= 100
)

select * from final
order by level, shoppers_rank
