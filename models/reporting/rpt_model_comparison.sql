with

metrics as (
    select * from {{ source('ml', 'metrics') }}
    where segment = 'all'
),

newest as (
    select
        protocol,
        max(run_id) as run_id
    from metrics
    group by protocol
),

-- The pages show the evaluation whose predictions are kept: the holdout, or folds if shoppers are
-- too few for one.
shown as (
    select max(run_id) as run_id from {{ source('ml', 'test_predictions') }}
),

production as (
    select max_by(model_name, finished_at) as model_name from {{ source('ml', 'batches') }}
),

final as (
    select
        metrics.run_id,
        metrics.model_name,
        metrics.split,
        metrics.protocol,
        coalesce(metrics.model_name = max(production.model_name), false) as is_production,
        coalesce(metrics.run_id = max(shown.run_id), false) as is_shown,
        {{ metric('auc') }} as auc,
        {{ metric('auc_low') }} as auc_low,
        {{ metric('auc_high') }} as auc_high,
        {{ metric('average_precision') }} as average_precision,
        {{ metric('log_loss') }} as log_loss,
        {{ metric('log_loss_low') }} as log_loss_low,
        {{ metric('log_loss_high') }} as log_loss_high,
        {{ metric('brier') }} as brier,
        {{ metric('expected_calibration_error') }} as calibration_error_share,
        {{ metric('mean_f1') }} as mean_f1_share,
        {{ metric('mean_f1_low') }} as mean_f1_low_share,
        {{ metric('mean_f1_high') }} as mean_f1_high_share,
        {{ metric('precision_at_5') }} as precision_at_5_share,
        {{ metric('precision_at_5_low') }} as precision_at_5_low_share,
        {{ metric('precision_at_5_high') }} as precision_at_5_high_share,
        {{ metric('precision_at_10') }} as precision_at_10_share,
        {{ metric('recall_at_10') }} as recall_at_10_share,
        {{ metric('ndcg_at_10') }} as ndcg_at_10,
        {{ metric('hit_rate_at_10') }} as hit_rate_at_10_share,
        cast({{ metric('shoppers') }} as integer) as shopper_count,
        cast({{ metric('pairs') }} as integer) as pair_count
    from metrics
    inner join newest
        on metrics.protocol = newest.protocol and metrics.run_id = newest.run_id
    cross join production
    cross join shown
    group by metrics.run_id, metrics.model_name, metrics.split, metrics.protocol
)

select * from final
order by protocol asc, auc desc
