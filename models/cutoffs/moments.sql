-- Midnights to look forward from, for each cutoff and shopper, with the window in which a purchase
-- is to be predicted. Cutoff 0 is now. Cutoff 1 is the newest midnight whose window has been seen
-- to its end, and each further cutoff is one day earlier.
{%- set horizon_hours = var('horizon_hours') | int %}
{%- set horizon_days = (horizon_hours + 23) // 24 %}
{%- set test_days = var('purchase_test_days') | int %}
{%- set validation_days = var('purchase_validation_days') | int %}
{%- set training_days = var('purchase_training_days') | int %}

with

user_days as (
    select * from {{ ref('user_days') }}
),

shoppers as (
    select
        user_id,
        min(day) as first_day,
        min(case when event_count > {{ var('robot_events') }} then day end) as robot_day
    from user_days
    group by user_id
),

-- The end of a log is often a day that is only partly exported. An event of any shopper at or after
-- the end of a window shows that the log covers the whole window.
log as (
    select
        min(day) as first_day,
        cast(coalesce({{ as_of_date() }}, max(day) + 1) as date) as now_day,
        max(last_event_at) as seen_until
    from user_days
),

newest as (
    select
        first_day,
        now_day,
        cast(
            {{ hours_after('least(seen_until, cast(now_day as timestamp))', -horizon_hours) }}
            as date
        ) as day
    from log
),

-- Days from the second day of the log to the end of the newest window. In a short log, a fifth of
-- them is for the test and a tenth for validation, but each holds at least one window.
lengths as (
    select
        day,
        cast(day + {{ horizon_days }} - first_day - 1 as integer) as days,
        day + {{ horizon_days }} as test_until
    from newest
),

periods as (
    select
        day,
        test_until,
        least(
            {{ test_days }}, greatest(cast(floor(days / 5) as integer), {{ horizon_days }})
        ) as test_days,
        least(
            {{ validation_days }}, greatest(cast(floor(days / 10) as integer), {{ horizon_days }})
        ) as validation_days
    from lengths
),

borders as (
    select
        day,
        test_until - test_days as test_from,
        test_until - test_days - validation_days as validation_from,
        test_until - test_days - validation_days - {{ training_days }} as training_from
    from periods
),

numbers (number) as (
    {{ numbers_to(test_days + validation_days + training_days) }}
),

days as (
    select
        cast(numbers.number + 1 as integer) as cutoff,
        borders.day - numbers.number as day,
        borders.day - numbers.number + {{ horizon_days }} as until,
        borders.test_from,
        borders.validation_from,
        borders.training_from
    from borders
    cross join numbers
),

-- A window belongs to the period that it lies in as a whole, so none crosses a border.
labelled as (
    select
        cutoff,
        day,
        case
            when day >= test_from then 'test'
            when day >= validation_from and until <= test_from then 'validation'
            when day >= training_from and until <= validation_from then 'train'
        end as period
    from days
),

-- The shoppers that a model learns from and is evaluated on, drawn by a hash of the ID. The draw
-- uses the end of the hash: the split uses its start, and must stay independent of the draw.
drawn as (
    select
        *,
        row_number() over (
            order by substr(md5(cast(user_id as varchar)), 17), user_id
        ) as place
    from shoppers
),

moments as (
    select
        0 as cutoff,
        newest.now_day as day,
        drawn.user_id,
        cast(null as varchar) as period,
        drawn.robot_day
    from drawn
    cross join newest
    where drawn.first_day < newest.now_day
    union all
    select
        labelled.cutoff,
        labelled.day,
        drawn.user_id,
        labelled.period,
        drawn.robot_day
    from drawn
    inner join labelled on drawn.first_day < labelled.day
    where
        labelled.period is not null
        and drawn.place <= {{ var('learning_shoppers') }}
),

final as (
    select
        cutoff,
        cast(day as timestamp) as cutoff_at,
        {{ hours_after('cast(day as timestamp)', horizon_hours) }} as window_end_at,
        user_id,
        -- By shopper, not by row: 20% test, 10% validation. All engines sort hex digits alike.
        case
            when md5(cast(user_id as varchar)) < '3333' then 'test'
            when md5(cast(user_id as varchar)) < '4ccc' then 'validation'
            else 'train'
        end as split,
        period,
        coalesce(robot_day < day, false) as is_robot
    from moments
)

select * from final
order by cutoff, user_id
