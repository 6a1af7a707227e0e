-- How often and how much each shopper buys. The weekly figures leave out the first order, which
-- ends no gap, and the last one, whose gap may already be out of rhythm.
with

targets as (
    select * from {{ ref('targets') }}
    where cutoff = 0
),

features as (
    select * from {{ ref('feat_users') }}
    where cutoff = 0
),

users as (
    select * from {{ ref('dim_users') }}
),

order_items as (
    select * from {{ ref('fct_order_items') }}
),

usual_gap as (
    select * from {{ ref('usual_gap') }}
),

orders as (
    select
        user_id,
        order_number,
        days_since_prior_order as gap_days,
        count(*) as items,
        sum(sales_value) as spend
    from order_items
    group by user_id, order_number, days_since_prior_order
),

placed as (
    select
        *,
        order_number > 1
        and order_number < max(order_number) over (partition by user_id) as is_in_rhythm
    from orders
),

sums as (
    select
        user_id,
        cast(round(median(gap_days)) as integer) as median_gap_days,
        sum(case when is_in_rhythm then items end) as items,
        sum(case when is_in_rhythm then spend end) as spend,
        -- A shorter time counts as a week.
        greatest(sum(case when is_in_rhythm then gap_days end), 7) / 7.0 as weeks
    from placed
    group by user_id
),

weekly as (
    select
        user_id,
        median_gap_days,
        cast(items as double) / weeks as weekly_items,
        cast(spend as double) / weeks as weekly_spend
    from sums
),

final as (
    select
        targets.user_id,
        targets.context_source,
        targets.days_since_prior_order as wait_days,
        users.last_ordered_at,
        features.user_order_count as order_count,
        features.user_last_gap_days as last_gap_days,
        cast(features.user_gap_mean_days as double) as usual_gap_days,
        weekly.median_gap_days,
        -- What a gap is compared with: a gap of a few days more means little to a daily shopper.
        cast(
            greatest(coalesce(features.user_gap_mean_days, usual_gap.days, 7), 7) as double
        ) as rhythm_days,
        weekly.weekly_items,
        weekly.weekly_spend,
        case
            when max(weekly.weekly_spend) over () > 0 then coalesce(weekly.weekly_spend, 0)
            else weekly.weekly_items
        end as weekly_value
    from targets
    inner join features on targets.user_id = features.user_id
    inner join users on targets.user_id = users.user_id
    inner join weekly on targets.user_id = weekly.user_id
    cross join usual_gap
)

select * from final
