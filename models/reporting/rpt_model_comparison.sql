with

metrics as (
    select * from {{ source('ml', 'metrics') }}
),

newest as (
    select max(run_id) as run_id from metrics
),

final as (
    select
        metrics.run_id,
        metrics.model_name,
        metrics.split,
        metrics.protocol,
        max(case when metrics.metric = 'auc' then metrics.value end) as auc,
        max(case when metrics.metric = 'precision_at_5' then metrics.value end)
            as precision_at_5_share,
        max(case when metrics.metric = 'mean_f1' then metrics.value end) as mean_f1_share,
        max(case when metrics.metric = 'log_loss' then metrics.value end) as log_loss,
        cast(max(case when metrics.metric = 'shoppers' then metrics.value end) as integer)
            as shopper_count,
        cast(max(case when metrics.metric = 'pairs' then metrics.value end) as integer)
            as pair_count
    from metrics
    inner join newest on metrics.run_id = newest.run_id
    where metrics.segment = 'all'
    group by metrics.run_id, metrics.model_name, metrics.split, metrics.protocol
)

select * from final
order by auc desc
