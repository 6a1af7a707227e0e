with

importance as (
    select * from {{ source('ml', 'purchase_feature_importance') }}
),

newest as (
    select max(run_id) as run_id from importance
),

final as (
    select
        importance.run_id,
        importance.model_name,
        importance.feature,
        importance.feature_group,
        importance.auc_loss,
        cast(
            row_number() over (order by importance.auc_loss desc, importance.feature asc) as integer
        )
            as importance_rank
    from importance
    inner join newest on importance.run_id = newest.run_id
)

select * from final
order by importance_rank
