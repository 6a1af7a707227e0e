-- The segment describes a shopper's history and regularity; the first that applies counts.
with

predictions as (
    select * from {{ ref('fct_predictions') }}
),

targets as (
    select * from {{ ref('targets') }}
    where cutoff = 0
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

rhythms as (
    select
        scores.*,
        features.user_order_count as order_count,
        features.user_basket_mean_count as basket_mean_count,
        features.user_reordered_share as reordered_share,
        features.user_gap_mean_days as usual_gap_days,
        features.user_last_gap_days as last_gap_days,
        targets.days_since_prior_order as wait_days,
        targets.context_source,
        -- A gap is late if it is both several times the usual gap and several days longer.
        greatest(
            {{ var('segment_late_ratio') }} * features.user_gap_mean_days,
            {{ var('segment_late_days') }} + features.user_gap_mean_days
        ) as late_gap_days
    from scores
    inner join targets on scores.user_id = targets.user_id
    inner join features on scores.user_id = features.user_id
),

final as (
    select
        user_id,
        batch_id,
        case
            when order_count < {{ var('segment_orders') }} then 'new'
            when wait_days > late_gap_days then 'lapsing'
            when last_gap_days > late_gap_days then 'slowing'
            when reordered_share >= {{ var('segment_loyal_share') }} then 'loyal'
            else 'exploring'
        end as segment,
        context_source,
        order_count,
        pair_count,
        above_half_count,
        basket_item_count,
        wait_days,
        last_gap_days,
        cast(usual_gap_days as double) as usual_gap_days,
        cast(basket_mean_count as double) as basket_mean_count,
        cast(reordered_share as double) as reordered_share,
        expected_units
    from rhythms
)

select * from final
order by user_id
