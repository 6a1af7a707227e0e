-- A view, because evaluations run after this model is built.
with

verdicts as (
    select * from {{ source('ml', 'verdicts') }}
),

-- The pages show the evaluations whose predictions are kept.
shown as (
    select max(run_id) as run_id from {{ source('ml', 'test_predictions') }}
    union all
    select max(run_id) as run_id from {{ source('ml', 'purchase_test_predictions') }}
),

final as (
    select
        verdicts.task,
        verdicts.run_id,
        verdicts.protocol,
        verdicts.metric,
        verdicts.model_name,
        verdicts.rule_name,
        cast(verdicts.shopper_count as integer) as shopper_count,
        verdicts.better_share,
        verdicts.worse_share,
        verdicts.equal_share,
        verdicts.difference,
        verdicts.low as difference_low,
        verdicts.high as difference_high,
        verdicts.verdict
    from verdicts
    inner join shown on verdicts.run_id = shown.run_id
)

select * from final
order by task desc
