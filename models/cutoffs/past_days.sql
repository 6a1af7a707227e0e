-- The only model that decides what the past of a moment is: the days before its midnight, and how
-- many days before it they were.
{{ config(materialized='view') }}

with

user_days as (
    select * from {{ ref('user_days') }}
),

moments as (
    select
        cutoff,
        user_id,
        cast(cutoff_at as date) as day
    from {{ ref('moments') }}
),

final as (
    select
        moments.cutoff,
        user_days.user_id,
        cast(moments.day - user_days.day as integer) as days_ago,
        case when (moments.day - user_days.day) % 7 = 0 then 1 else 0 end as is_same_dow,
        case when user_days.purchase_count > 0 then 1 else 0 end as is_purchase_day,
        user_days.gap_days,
        user_days.purchase_count,
        user_days.view_count,
        user_days.search_count,
        user_days.cart_count,
        user_days.remove_count,
        user_days.checkout_count,
        user_days.session_count,
        user_days.last_event_at,
        user_days.last_purchase_at,
        user_days.last_view_at,
        user_days.last_search_at,
        user_days.last_cart_at,
        user_days.last_remove_at,
        user_days.last_checkout_at,
        user_days.item_count,
        user_days.spend
    from user_days
    inner join moments
        on
            user_days.user_id = moments.user_id
            and user_days.day < moments.day
)

select * from final
