-- The segment is the first that applies. segment_bounds has the bounds.
with

predictions as (
    select * from {{ ref('fct_predictions') }}
),

rhythms as (
    select * from {{ ref('shopper_rhythms') }}
),

bounds as (
    select * from {{ ref('segment_bounds') }}
),

features as (
    select * from {{ ref('feat_users') }}
    where cutoff = 0
),

scores as (
    select
        user_id,
        batch_id,
        cast(count(*) as integer) as pair_count,
        cast(sum(case when reorder_probability > 0.5 then 1 else 0 end) as integer)
            as above_half_count,
        cast(sum(case when in_basket then 1 else 0 end) as integer) as basket_item_count,
        cast({{ exact_sum('reorder_probability') }} as double) as expected_units
    from predictions
    group by user_id, batch_id
),

segmented as (
    select
        scores.user_id,
        scores.batch_id,
        case
            when rhythms.wait_days > bounds.lost_ratio * rhythms.rhythm_days then 'lost'
            when rhythms.order_count < {{ var('segment_orders') }} then 'new'
            when rhythms.wait_days > bounds.late_ratio * rhythms.rhythm_days then 'at risk'
            when rhythms.last_gap_days > bounds.late_ratio * rhythms.rhythm_days
                then 'needs attention'
            when rhythms.weekly_value >= bounds.champion_weekly_value then 'champion'
            when rhythms.usual_gap_days <= bounds.loyal_gap_days then 'loyal'
            else 'occasional'
        end as segment,
        rhythms.context_source,
        rhythms.order_count,
        scores.pair_count,
        scores.above_half_count,
        scores.basket_item_count,
        rhythms.wait_days,
        rhythms.last_gap_days,
        rhythms.usual_gap_days,
        rhythms.median_gap_days,
        -- The median gap: in a backtest it came closer than the mean (rpt_next_order_check).
        cast(rhythms.last_ordered_at as date) + rhythms.median_gap_days as next_order_on,
        case
            when rhythms.last_ordered_at is not null and rhythms.median_gap_days is not null
                then greatest(rhythms.wait_days - rhythms.median_gap_days, 0)
        end as overdue_days,
        cast(features.user_basket_mean_count as double) as basket_mean_count,
        cast(features.user_reordered_share as double) as reordered_share,
        rhythms.weekly_items,
        rhythms.weekly_spend,
        scores.expected_units
    from scores
    inner join rhythms on scores.user_id = rhythms.user_id
    inner join features on scores.user_id = features.user_id
    cross join bounds
),

final as (
    select
        *,
        segment in ('at risk', 'needs attention') as is_drifting
    from segmented
)

select * from final
order by user_id
