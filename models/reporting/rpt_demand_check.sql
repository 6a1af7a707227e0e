-- Accuracy of the weekly forecasts in the closed weeks, by level and size.
with

weeks as (
    select
        *,
        case when sold_units between low_units and high_units then 1 else 0 end as is_within
    from {{ ref('demand_forecasts') }}
    where not is_coming
),

-- A name of five units or more counts in its own size and in '5 or more'.
sizes (own_size, size) as (
    values
    ('under 5', 'under 5'),
    ('5 to 19', '5 to 19'),
    ('20 or more', '20 or more'),
    ('5 to 19', '5 or more'),
    ('20 or more', '5 or more')
),

by_week as (
    select
        weeks.level,
        sizes.size,
        weeks.cutoff_at,
        min(weeks.method) as first_method,
        max(weeks.method) as last_method,
        count(*) as name_count,
        {{ exact_sum('weeks.sold_units') }} as sold_units,
        {{ exact_sum('abs(weeks.sold_units - weeks.expected_units)') }} as error,
        {{ exact_sum('abs(weeks.sold_units - weeks.shopper_units)') }} as shopper_error,
        {{ exact_sum('abs(weeks.sold_units - weeks.naive_units)') }} as naive_error,
        {{ exact_sum('abs(weeks.sold_units - weeks.trend_units)') }} as trend_error,
        sum(case when weeks.high_units is not null then 1 else 0 end) as interval_count,
        sum(weeks.is_within) as within_count
    from weeks
    inner join sizes on weeks.size = sizes.own_size
    group by weeks.level, sizes.size, weeks.cutoff_at
),

final as (
    select
        level,
        size,
        case when min(first_method) = max(last_method) then min(first_method) else 'both' end
            as method,
        cast(count(*) as integer) as week_count,
        cast(sum(name_count) as integer) as name_week_count,
        cast(sum(sold_units) as double) as sold_units,
        cast(sum(error) / nullif(sum(sold_units), 0) as double) as error_share,
        cast(sum(shopper_error) / nullif(sum(sold_units), 0) as double) as shopper_error_share,
        cast(sum(naive_error) / nullif(sum(sold_units), 0) as double) as naive_error_share,
        cast(sum(trend_error) / nullif(sum(sold_units), 0) as double) as trend_error_share,
        cast(sum(case when shopper_error < naive_error then 1 else 0 end) as integer)
            as better_week_count,
        sum(within_count) / nullif(cast(sum(interval_count) as double), 0) as within_share
    from by_week
    group by level, size
)

select * from final
