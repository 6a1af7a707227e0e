-- The only table that a trained purchase model reads, and the only place where its label is made:
-- whether the shopper buys in the window. At cutoff 0 the label is not known yet.
with

moments as (
    select * from {{ ref('moments') }}
),

windows as (
    select * from {{ ref('purchase_windows') }}
),

features as (
    select * from {{ ref('feat_moments') }}
),

purchases as (
    select
        user_id,
        occurred_at
    from {{ ref('fct_events') }}
    where event_type = 'purchase'
),

bought as (
    select distinct
        windows.horizon_days,
        moments.cutoff,
        moments.user_id
    from moments
    inner join windows on moments.cutoff = windows.cutoff
    inner join purchases
        on
            moments.user_id = purchases.user_id
            and purchases.occurred_at >= windows.cutoff_at
            and purchases.occurred_at < windows.window_end_at
    where moments.cutoff > 0
),

final as (
    select
        windows.horizon_days,
        moments.cutoff,
        moments.cutoff_at,
        windows.window_end_at,
        moments.user_id,
        moments.split,
        windows.period,
        moments.is_robot,
        case when moments.cutoff > 0 then bought.user_id is not null end as label,
        features.days_since_first_purchase,
        features.tenure_days,
        features.purchase_count,
        features.hours_since_purchase,
        features.days_since_purchase,
        features.known_91_days_count,
        features.purchase_28_days_count,
        features.purchase_91_days_count,
        features.purchase_decay_2_days_count,
        features.purchase_decay_7_days_count,
        features.purchase_decay_28_days_count,
        features.purchase_decay_91_days_count,
        features.purchase_91_days_rate,
        features.gap_last_days,
        features.gap_median_days,
        features.gap_stddev_days,
        features.overdue_days_ratio,
        features.dow_decay_3_weeks_count,
        features.dow_decay_8_weeks_count,
        features.dow_rate,
        features.dow_13_weeks_rate,
        features.item_mean_count,
        features.spend_28_days,
        features.hours_since_event,
        features.hours_since_view,
        features.hours_since_cart,
        features.hours_since_checkout,
        features.view_1_day_count,
        features.view_3_days_count,
        features.view_7_days_count,
        features.view_28_days_count,
        features.search_7_days_count,
        features.cart_1_day_count,
        features.cart_3_days_count,
        features.cart_7_days_count,
        features.cart_28_days_count,
        features.remove_7_days_count,
        features.checkout_1_day_count,
        features.checkout_7_days_count,
        features.checkout_28_days_count,
        features.session_1_day_count,
        features.session_7_days_count,
        features.session_28_days_count,
        features.open_cart_count,
        cast(extract(dow from moments.cutoff_at) as integer) as context_dow
    from moments
    inner join windows on moments.cutoff = windows.cutoff
    inner join features
        on moments.cutoff = features.cutoff and moments.user_id = features.user_id
    left join bought
        on
            windows.horizon_days = bought.horizon_days
            and moments.cutoff = bought.cutoff
            and moments.user_id = bought.user_id
)

select * from final
