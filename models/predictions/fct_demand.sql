with

forecasts as (
    select * from {{ ref('demand_forecasts') }}
    where is_coming
),

final as (
    select
        level,
        product_id,
        department,
        aisle,
        case
            when level = 'department' then department
            when level = 'aisle' then aisle
            -- Of products with the same name, only the best seller has the name without its ID.
            when
                row_number() over (
                    partition by level, product_name order by expected_units desc, product_id asc
                ) = 1
                then product_name
            else product_name || ' (' || cast(product_id as varchar) || ')'
        end as name,
        cutoff_at,
        cutoff_at + interval '7 days' as window_end_at,
        method,
        cast(expected_units as double) as expected_units,
        cast(low_units as double) as low_units,
        cast(high_units as double) as high_units,
        cast(shopper_units as double) as shopper_units,
        cast(naive_units as double) as naive_units,
        cast(first_time_units as double) as first_time_units,
        cast(first_time_units / nullif(naive_units, 0) as double) as first_time_share
    from forecasts
)

select * from final
