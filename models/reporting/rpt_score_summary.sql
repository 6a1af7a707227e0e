with

predictions as (
    select * from {{ ref('fct_predictions') }}
),

batches as (
    select * from {{ source('ml', 'batches') }}
),

final as (
    select
        predictions.batch_id,
        max(batches.model_name) as model_name,
        max(batches.model_version) as model_version,
        cast(count(*) as integer) as pair_count,
        cast(count(distinct predictions.user_id) as integer) as shopper_count,
        cast(sum(case when predictions.in_basket then 1 else 0 end) as integer)
            as basket_item_count,
        {{ exact_sum('predictions.reorder_probability') }} / count(*)
            as mean_probability_share,
        cast(sum(case when predictions.reorder_probability > 0.5 then 1 else 0 end) as double)
        / count(*) as above_half_share,
        max(batches.finished_at) as scored_at
    from predictions
    inner join batches on predictions.batch_id = batches.batch_id
    group by predictions.batch_id
)

select * from final
