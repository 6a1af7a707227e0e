-- The production model by segment: `history=5 to 9 orders` is a kind and a segment. A segment of
-- fewer than ten shoppers has counts and no figures, which would be little more than chance.
with

metrics as (
    select * from {{ source('ml', 'metrics') }}
),

production as (
    select
        run_id,
        model_name
    from {{ ref('rpt_model_comparison') }}
    where is_production
),

parts as (
    select
        metrics.*,
        split_part(metrics.segment, '=', 1) as kind,
        -- A department's name can contain the sign too.
        substr(metrics.segment, length(split_part(metrics.segment, '=', 1)) + 2) as part
    from metrics
    inner join production
        on metrics.run_id = production.run_id and metrics.model_name = production.model_name
    where
        metrics.segment like '%=%'
        and split_part(metrics.segment, '=', 1) not in ('over', 'size', 'training_shoppers')
),

counted as (
    select
        run_id,
        segment,
        max(case when metric = 'shoppers' then value end) as shoppers
    from parts
    group by run_id, segment
),

kept as (
    select parts.*
    from parts
    inner join counted on parts.run_id = counted.run_id and parts.segment = counted.segment
    where counted.shoppers >= 10 or parts.metric in ('shoppers', 'pairs')
),

final as (
    select
        metrics.run_id,
        metrics.model_name,
        metrics.protocol,
        metrics.kind,
        metrics.part as segment,
        {{ metric('auc') }} as auc,
        {{ metric('auc_low') }} as auc_low,
        {{ metric('auc_high') }} as auc_high,
        {{ metric('log_loss') }} as log_loss,
        {{ metric('expected_calibration_error') }} as calibration_error_share,
        {{ metric('mean_predicted') }} as mean_predicted_share,
        {{ metric('mean_observed') }} as mean_observed_share,
        {{ metric('mean_f1') }} as mean_f1_share,
        {{ metric('precision_at_5') }} as precision_at_5_share,
        {{ metric('precision_at_5_low') }} as precision_at_5_low_share,
        {{ metric('precision_at_5_high') }} as precision_at_5_high_share,
        cast({{ metric('shoppers') }} as integer) as shopper_count,
        cast({{ metric('pairs') }} as integer) as pair_count
    from kept as metrics
    group by
        metrics.run_id, metrics.model_name, metrics.protocol, metrics.kind, metrics.part
)

select * from final
order by protocol, kind, segment
