-- A view, because evaluations run after this model is built.
with

metrics as (
    select * from {{ source('ml', 'discovery_metrics') }}
),

-- The pages show the evaluation whose predictions are kept.
shown as (
    select max(run_id) as run_id from {{ source('ml', 'test_predictions') }}
),

figures as (
    select
        metrics.run_id,
        metrics.model_name,
        {{ metric('recall_at_10') }} as recall,
        {{ metric('recall_at_10_low') }} as recall_low,
        {{ metric('recall_at_10_high') }} as recall_high,
        {{ metric('hit_rate_at_10') }} as hit_rate,
        {{ metric('shoppers') }} as shoppers,
        {{ metric('mean_predicted') }} as mean_predicted,
        {{ metric('mean_observed') }} as mean_observed
    from metrics
    inner join shown on metrics.run_id = shown.run_id
    where metrics.segment = 'all'
    group by metrics.run_id, metrics.model_name
),

differences as (
    select
        metrics.run_id,
        substr(metrics.segment, length('over=') + 1) as model_name,
        {{ metric('recall_at_10') }} as difference,
        {{ metric('recall_at_10_low') }} as difference_low,
        {{ metric('recall_at_10_high') }} as difference_high
    from metrics
    where metrics.segment like 'over=%'
    group by metrics.run_id, metrics.segment
),

final as (
    select
        figures.run_id,
        figures.model_name,
        cast(figures.shoppers as integer) as shopper_count,
        figures.recall as recall_at_10_share,
        figures.recall_low as recall_at_10_low_share,
        figures.recall_high as recall_at_10_high_share,
        figures.hit_rate as hit_rate_at_10_share,
        differences.difference as recall_gain,
        differences.difference_low as recall_gain_low,
        differences.difference_high as recall_gain_high,
        figures.mean_predicted as mean_predicted_share,
        figures.mean_observed as mean_observed_share
    from figures
    left join differences
        on figures.run_id = differences.run_id and figures.model_name = differences.model_name
)

select * from final
order by recall_at_10_share desc
