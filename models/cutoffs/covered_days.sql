-- The days that the log covers. The end of a log is often a day that is only partly exported. An
-- event of any shopper at or after a midnight shows that the log covers the day before it.
{{ config(materialized='view') }}

with

user_days as (
    select * from {{ ref('user_days') }}
),

log as (
    select
        min(day) as first_day,
        cast(coalesce({{ as_of_date() }}, max(day) + 1) as date) as now_day,
        max(last_event_at) as seen_until
    from user_days
),

final as (
    select
        first_day,
        now_day,
        cast(least(seen_until, cast(now_day as timestamp)) as date) as until_day
    from log
    where first_day < now_day
)

select * from final
