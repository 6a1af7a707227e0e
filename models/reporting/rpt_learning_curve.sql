with

metrics as (
    select
        run_id,
        model_name,
        protocol,
        metric,
        value,
        cast(split_part(segment, '=', 2) as integer) as training_shopper_count
    from {{ source('ml', 'metrics') }}
    where segment like 'training_shoppers=%'
),

newest as (
    select
        protocol,
        max(run_id) as run_id
    from metrics
    group by protocol
),

production as (
    select max_by(model_name, finished_at) as model_name from {{ source('ml', 'batches') }}
),

final as (
    select
        metrics.run_id,
        metrics.protocol,
        metrics.training_shopper_count,
        {{ metric('auc') }} as auc,
        {{ metric('auc_low') }} as auc_low,
        {{ metric('auc_high') }} as auc_high,
        {{ metric('mean_f1') }} as mean_f1_share
    from metrics
    inner join newest
        on metrics.protocol = newest.protocol and metrics.run_id = newest.run_id
    inner join production on metrics.model_name = production.model_name
    group by metrics.run_id, metrics.protocol, metrics.training_shopper_count
)

select * from final
order by training_shopper_count
