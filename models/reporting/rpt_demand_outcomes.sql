-- A view, because outcomes can still come after this model is built.
with

outcomes as (
    select
        *,
        date_trunc('week', cutoff_at) as week_start_at,
        case when is_within then 1 when not is_within then 0 end as within
    from {{ ref('fct_demand_outcomes') }}
),

final as (
    select
        cast(week_start_at as timestamp) as week_start_at,
        level,
        cast(count(distinct cutoff_at) as integer) as forecast_count,
        cast(count(*) as integer) as name_count,
        {{ exact_sum('expected_units') }} as expected_units,
        {{ exact_sum('observed_units') }} as observed_units,
        {{ exact_sum('abs(observed_units - expected_units)') }}
        / nullif({{ exact_sum('observed_units') }}, 0) as error_share,
        sum(within) / cast(count(within) as double) as within_share
    from outcomes
    group by week_start_at, level
)

select * from final
order by week_start_at, level
