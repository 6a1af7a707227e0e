-- A day has the events that became known on it: a late event counts on the day it came in, so that
-- "before midnight" is the same as "known before midnight". gap_days looks only backwards: it holds
-- at every cutoff.
with

events as (
    select * from {{ ref('fct_events') }}
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

purchase_days as (
    select
        *,
        max(case when purchase_count > 0 then day end) over (
            partition by user_id
            order by day
            rows between unbounded preceding and 1 preceding
        ) as prior_purchase_day
    from days
),

final as (
    select
        user_id,
        day,
        cast(event_count as integer) as event_count,
        cast(purchase_count as integer) as purchase_count,
        cast(view_count as integer) as view_count,
        cast(search_count as integer) as search_count,
        cast(cart_count as integer) as cart_count,
        cast(remove_count as integer) as remove_count,
        cast(checkout_count as integer) as checkout_count,
        cast(session_count as integer) as session_count,
        last_event_at,
        last_purchase_at,
        last_view_at,
        last_search_at,
        last_cart_at,
        last_remove_at,
        last_checkout_at,
        cast(item_count as integer) as item_count,
        spend,
        cast(case when purchase_count > 0 then day - prior_purchase_day end as integer) as gap_days
    from purchase_days
)

select * from final
order by user_id, day
