-- The windows in which a purchase is to be predicted, of 24 hours and of 7 days, and the period
-- that each is for. The windows of a horizon follow each other without a gap, so none crosses the
-- border between two periods. They go back from the newest midnight that the log covers, and a
-- cutoff is the number of days before it. Cutoff 0 is now.
{{ config(
    materialized='incremental', incremental_strategy='append', on_schema_change='fail',
    pre_hook="{{ forget('cutoff = 0') }}"
) }}
{%- set test_days = var('purchase_test_days') | int %}
{%- set validation_days = var('purchase_validation_days') | int %}
{%- set training_days = var('purchase_training_days') | int %}

with

covered as (
    select * from {{ ref('covered_days') }}
),

horizons (horizon_days) as (
    values (1), (7)
),

-- Windows start on the second day of the log or later.
counts as (
    select
        covered.now_day,
        covered.until_day,
        horizons.horizon_days,
        floor((covered.until_day - covered.first_day - 1) / horizons.horizon_days) as windows
    from covered
    cross join horizons
),

-- In a short log, a fifth of the windows is for the test and a tenth for validation, but at least
-- one is for each.
lengths as (
    select
        *,
        least(floor({{ test_days }} / horizon_days), greatest(floor(windows / 5), 1))
            as test_windows,
        least(floor({{ validation_days }} / horizon_days), greatest(floor(windows / 10), 1))
            as validation_windows,
        floor({{ training_days }} / horizon_days) as training_windows
    from counts
),

numbers (number) as (
    {{ numbers_to(test_days + validation_days + training_days) }}
),

windows as (
    select
        horizon_days,
        0 as cutoff,
        now_day as day,
        cast(null as varchar) as period
    from lengths
    union all
    select
        lengths.horizon_days,
        numbers.number * lengths.horizon_days as cutoff,
        lengths.until_day - numbers.number * lengths.horizon_days as day,
        case
            when numbers.number <= lengths.test_windows then 'test'
            when numbers.number <= lengths.test_windows + lengths.validation_windows
                then 'validation'
            else 'train'
        end as period
    from lengths
    inner join numbers
        on
            numbers.number > 0
            and numbers.number <= lengths.windows
            and numbers.number
            <= lengths.test_windows + lengths.validation_windows + lengths.training_windows
),

final as (
    select
        cast(horizon_days as integer) as horizon_days,
        cast(cutoff as integer) as cutoff,
        cast(day as timestamp) as cutoff_at,
        cast(day + horizon_days as timestamp) as window_end_at,
        period
    from windows
)

select * from final
{% if is_incremental() %}where cutoff = 0{% endif %}
order by horizon_days, cutoff
