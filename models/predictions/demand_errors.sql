-- The error that 95% of the forecasts of a level and size stay within, in closed weeks. The figure
-- of a week comes from the other weeks, so the intervals of closed weeks are tested on errors that
-- they have not seen (split conformal prediction, Lei et al. 2018).
with

forecasts as (
    select * from {{ ref('demand_levels') }}
),

weeks as (
    select distinct cutoff_at from forecasts
),

errors as (
    select
        cutoff_at,
        level,
        size,
        abs(sold_units - expected_units) / {{ error_scale('expected_units') }} as error_ratio
    from forecasts
    where not is_coming and expected_units > 0
),

ranked as (
    select
        weeks.cutoff_at,
        errors.level,
        errors.size,
        errors.error_ratio,
        row_number() over (
            partition by weeks.cutoff_at, errors.level, errors.size
            order by errors.error_ratio
        ) as place,
        count(*) over (partition by weeks.cutoff_at, errors.level, errors.size) as error_count
    from weeks
    inner join errors on weeks.cutoff_at <> errors.cutoff_at
),

final as (
    select
        cutoff_at,
        level,
        size,
        cast(max(error_count) as integer) as error_count,
        -- Fewer than 19 errors are too few to bound 95%.
        cast(
            min(case when place >= ceil(0.95 * (error_count + 1)) then error_ratio end) as double
        ) as error_ratio
    from ranked
    group by cutoff_at, level, size
)

select * from final
