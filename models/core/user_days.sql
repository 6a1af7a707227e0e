-- A day has the events that became known on it: a late event counts on the day it came in, so that
-- "before midnight" is the same as "known before midnight". gap_days looks only backwards: it holds
-- at every cutoff.
{{ config(
    materialized='incremental', incremental_strategy='append', on_schema_change='fail',
    pre_hook="{{ forget('day >= ' ~ rebuilt_from()) }}"
) }}

with

events as (
    select * from {{ ref('fct_events') }}
    {% if is_incremental() %}where known_at >= {{ rebuilt_from() }}{% endif %}
),

days as (
    select
        user_id,
        cast(known_at as date) as day,
        count(*) as event_count,
        sum(case when event_type = 'purchase' then 1 else 0 end) as purchase_count,
        sum(case when event_type = 'view' then 1 else 0 end) as view_count,
        sum(case when event_type = 'search' then 1 else 0 end) as search_count,
        sum(case when event_type = 'cart' then 1 else 0 end) as cart_count,
        sum(case when event_type = 'remove' then 1 else 0 end) as remove_count,
        sum(case when event_type = 'checkout' then 1 else 0 end) as checkout_count,
        count(distinct session_id) as session_count,
        max(occurred_at) as last_event_at,
        max(case when event_type = 'purchase' then occurred_at end) as last_purchase_at,
        max(case when event_type = 'view' then occurred_at end) as last_view_at,
        max(case when event_type = 'search' then occurred_at end) as last_search_at,
        max(case when event_type = 'cart' then occurred_at end) as last_cart_at,
        max(case when event_type = 'remove' then occurred_at end) as last_remove_at,
        max(case when event_type = 'checkout' then occurred_at end) as last_checkout_at,
        sum(item_count) as item_count,
        {{ exact_sum("case when event_type = 'purchase' then event_value end", bits=20) }} as spend
    from events
    group by user_id, cast(known_at as date)
),

purchases as (
    select
        user_id,
        day
    from days
    where purchase_count > 0
    {% if is_incremental() -%}
        union all
        select
            user_id,
            max(day) as day
        from {{ this }}
        where purchase_count > 0 and day < {{ rebuilt_from() }}
        group by user_id
    {%- endif %}
),

purchase_days as (
    select
        user_id,
        day,
        lag(day) over (partition by user_id order by day) as prior_day
    from purchases
),

final as (
    select
        days.user_id,
        days.day,
        cast(days.event_count as integer) as event_count,
        cast(days.purchase_count as integer) as purchase_count,
        cast(days.view_count as integer) as view_count,
        cast(days.search_count as integer) as search_count,
        cast(days.cart_count as integer) as cart_count,
        cast(days.remove_count as integer) as remove_count,
        cast(days.checkout_count as integer) as checkout_count,
        cast(days.session_count as integer) as session_count,
        days.last_event_at,
        days.last_purchase_at,
        days.last_view_at,
        days.last_search_at,
        days.last_cart_at,
        days.last_remove_at,
        days.last_checkout_at,
        cast(days.item_count as integer) as item_count,
        days.spend,
        cast(days.day - purchase_days.prior_day as integer) as gap_days
    from days
    left join purchase_days
        on days.user_id = purchase_days.user_id and days.day = purchase_days.day
)

select * from final
order by user_id, day
