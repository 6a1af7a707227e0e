-- Weekly forecasts with 95% intervals.
with

forecasts as (
    select * from {{ ref('demand_levels') }}
),

errors as (
    select * from {{ ref('demand_errors') }}
),

reached as (
    select
        forecasts.*,
        case
            when forecasts.expected_units > 0
                then errors.error_ratio * {{ error_scale('forecasts.expected_units') }}
        end as error_units
    from forecasts
    left join errors
        on
            forecasts.cutoff_at = errors.cutoff_at
            and forecasts.level = errors.level
            and forecasts.size = errors.size
),

final as (
    select
        level,
        department,
        aisle,
        product_name,
        product_id,
        cutoff_at,
        is_coming,
        size,
        method,
        expected_units,
        case when error_units > expected_units then 0 else expected_units - error_units end
            as low_units,
        expected_units + error_units as high_units,
        sold_units,
        shopper_units,
        naive_units,
        trend_units,
        first_time_units
    from reached
)

select * from final
