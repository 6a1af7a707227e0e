-- Each feature is an aggregate over the shopper's own past days, so no other shopper changes it.
{{ config(materialized='by_shopper', by_shopper_of='moments') }}

with

past_days as (
    select * from {{ ref('past_days') }}
),

moments as (
    select * from {{ ref('moments') }}
),

totals as (
    select
        cutoff,
        user_id,
        max(days_ago) as tenure_days,
        max(last_event_at) as last_event_at,
        max(last_purchase_at) as last_purchase_at,
        max(last_view_at) as last_view_at,
        max(last_cart_at) as last_cart_at,
        max(last_checkout_at) as last_checkout_at,
        min(case when is_purchase_day = 1 then days_ago end) as days_since_purchase,
        max(case when is_purchase_day = 1 then days_ago end) as days_since_first_purchase,
        sum(is_purchase_day) as purchases,
        {{ in_last_days('is_purchase_day', 28) }} as purchase_28_days_count,
        {{ in_last_days('is_purchase_day', 91) }} as purchase_91_days_count,
        {{ exact_sum('is_purchase_day * power(0.5, days_ago / 2.0)', bits=40) }} as decay_2_days,
        {{ exact_sum('is_purchase_day * power(0.5, days_ago / 7.0)', bits=40) }} as decay_7_days,
        {{ exact_sum('is_purchase_day * power(0.5, days_ago / 28.0)', bits=40) }} as decay_28_days,
        {{ exact_sum('is_purchase_day * power(0.5, days_ago / 91.0)', bits=40) }} as decay_91_days,
        max_by(gap_days, case when gap_days is not null then -days_ago end) as gap_last_days,
        median(gap_days) as gap_median_days,
        {{ exact_stddev('gap_days') }} as gap_stddev_days,
        sum(is_same_dow * is_purchase_day) as dow_purchases,
        {{ in_last_days('is_same_dow * is_purchase_day', 91) }} as dow_13_weeks_count,
        {{ exact_sum('is_same_dow * is_purchase_day * power(0.5, days_ago / 21.0)', bits=40) }}
            as dow_decay_3_weeks,
        {{ exact_sum('is_same_dow * is_purchase_day * power(0.5, days_ago / 56.0)', bits=40) }}
            as dow_decay_8_weeks,
        sum(item_count) as items,
        sum(case when item_count is not null then purchase_count end) as purchases_with_items,
        sum(case when days_ago <= 28 then spend end) as spend_28_days,
        {{ in_last_days('view_count', 1) }} as view_1_day_count,
        {{ in_last_days('view_count', 3) }} as view_3_days_count,
        {{ in_last_days('view_count', 7) }} as view_7_days_count,
        {{ in_last_days('view_count', 28) }} as view_28_days_count,
        {{ in_last_days('search_count', 7) }} as search_7_days_count,
        {{ in_last_days('cart_count', 1) }} as cart_1_day_count,
        {{ in_last_days('cart_count', 3) }} as cart_3_days_count,
        {{ in_last_days('cart_count', 7) }} as cart_7_days_count,
        {{ in_last_days('cart_count', 28) }} as cart_28_days_count,
        {{ in_last_days('remove_count', 7) }} as remove_7_days_count,
        {{ in_last_days('checkout_count', 1) }} as checkout_1_day_count,
        {{ in_last_days('checkout_count', 7) }} as checkout_7_days_count,
        {{ in_last_days('checkout_count', 28) }} as checkout_28_days_count,
        {{ in_last_days('session_count', 1) }} as session_1_day_count,
        {{ in_last_days('session_count', 7) }} as session_7_days_count,
        {{ in_last_days('session_count', 28) }} as session_28_days_count
    from past_days
    group by cutoff, user_id
),

rates as (
    select
        totals.*,
        cast(moments.cutoff_at as date) as day,
        least(totals.tenure_days, 91) as days_of_91,
        totals.purchases / totals.tenure_days as purchase_rate,
        totals.purchase_91_days_count / least(totals.tenure_days, 91) as purchase_91_days_rate
    from totals
    inner join moments on totals.cutoff = moments.cutoff and totals.user_id = moments.user_id
),

final as (
    select
        cutoff,
        user_id,
        cast({{ hours_before('day', 'last_purchase_at') }} as float) as hours_since_purchase,
        cast(days_since_purchase as integer) as days_since_purchase,
        cast(days_since_first_purchase as integer) as days_since_first_purchase,
        cast(tenure_days as integer) as tenure_days,
        cast(purchases as integer) as purchase_count,
        cast(days_of_91 as integer) as known_91_days_count,
        purchase_28_days_count,
        purchase_91_days_count,
        cast(decay_2_days as float) as purchase_decay_2_days_count,
        cast(decay_7_days as float) as purchase_decay_7_days_count,
        cast(decay_28_days as float) as purchase_decay_28_days_count,
        cast(decay_91_days as float) as purchase_decay_91_days_count,
        cast(purchase_91_days_rate as float) as purchase_91_days_rate,
        cast(gap_last_days as integer) as gap_last_days,
        cast(gap_median_days as float) as gap_median_days,
        cast(gap_stddev_days as float) as gap_stddev_days,
        cast(days_since_purchase / gap_median_days as float) as overdue_days_ratio,
        cast(dow_decay_3_weeks as float) as dow_decay_3_weeks_count,
        cast(dow_decay_8_weeks as float) as dow_decay_8_weeks_count,
        -- The constants pull a short history towards the shopper's rate over all days of the week.
        cast((dow_purchases + 4 * purchase_rate) / (floor(tenure_days / 7) + 4) as float)
            as dow_rate,
        cast(
            (dow_13_weeks_count + 3 * purchase_91_days_rate) / (floor(days_of_91 / 7) + 3) as float
        ) as dow_13_weeks_rate,
        cast(items / purchases_with_items as float) as item_mean_count,
        cast(spend_28_days as float) as spend_28_days,
        cast({{ hours_before('day', 'last_event_at') }} as float) as hours_since_event,
        cast({{ hours_before('day', 'last_view_at') }} as float) as hours_since_view,
        cast({{ hours_before('day', 'last_cart_at') }} as float) as hours_since_cart,
        cast({{ hours_before('day', 'last_checkout_at') }} as float) as hours_since_checkout,
        view_1_day_count,
        view_3_days_count,
        view_7_days_count,
        view_28_days_count,
        search_7_days_count,
        cart_1_day_count,
        cart_3_days_count,
        cart_7_days_count,
        cart_28_days_count,
        remove_7_days_count,
        checkout_1_day_count,
        checkout_7_days_count,
        checkout_28_days_count,
        session_1_day_count,
        session_7_days_count,
        session_28_days_count,
        cast(
            case
                when last_cart_at is null then 0
                when last_purchase_at is null or last_cart_at > last_purchase_at then 1
                else 0
            end as integer
        ) as open_cart_count
    from rates
)

select * from final
