-- Each shopper at each midnight that starts a window, if an earlier day of the shopper is known.
-- What is known at a midnight does not depend on how far a model looks ahead from there, so moments
-- and features have no horizon.
{{ config(
    materialized='incremental', incremental_strategy='append', on_schema_change='fail',
    pre_hook="{{ forget('cutoff = 0') }}"
) }}

with

user_days as (
    select * from {{ ref('user_days') }}
),

midnights as (
    select distinct
        cutoff,
        cutoff_at,
        cast(cutoff_at as date) as day
    from {{ ref('purchase_windows') }}
    {% if is_incremental() %}where cutoff = 0{% endif %}
),

shoppers as (
    select
        user_id,
        min(day) as first_day,
        min(case when event_count > {{ var('robot_events') }} then day end) as robot_day
    from user_days
    group by user_id
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

final as (
    select
        midnights.cutoff,
        midnights.cutoff_at,
        drawn.user_id,
        -- By shopper, not by row.
        {{ split_of('drawn.user_id') }} as split,
        coalesce(drawn.robot_day < midnights.day, false) as is_robot
    from drawn
    inner join midnights
        on
            drawn.first_day < midnights.day
            and (midnights.cutoff = 0 or drawn.place <= {{ var('learning_shoppers') }})
)

select * from final
order by cutoff, user_id
