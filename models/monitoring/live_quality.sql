-- Quality of published predictions by model version and week, and over all weeks (week_start_at is
-- null), beside what the evaluation of the version promised. The promise of an order whose weekday
-- and hour were known is that of `context=order`; all others were guessed, as in `context=typical`.
with

outcomes as (
    select * from {{ ref('fct_order_outcomes') }}
),

metrics as (
    select * from {{ source('ml', 'metrics') }}
    where segment in ('context=order', 'context=typical')
),

evaluations as (
    select
        model_version,
        max(run_id) as run_id
    from {{ source('ml', 'evaluations') }}
    where task = 'reorder'
    group by model_version
),

promises as (
    select
        evaluations.model_version,
        metrics.segment,
        {{ metric('mean_f1') }} as mean_f1,
        {{ metric('mean_f1_low') }} as mean_f1_low,
        {{ metric('mean_f1_high') }} as mean_f1_high,
        {{ metric('precision_at_5') }} as precision_at_5,
        {{ metric('precision_at_5_low') }} as precision_at_5_low,
        {{ metric('precision_at_5_high') }} as precision_at_5_high,
        {{ metric('log_loss') }} as log_loss,
        {{ metric('log_loss_low') }} as log_loss_low,
        {{ metric('log_loss_high') }} as log_loss_high
    from metrics
    inner join evaluations on metrics.run_id = evaluations.run_id
    group by evaluations.model_version, metrics.segment
),

-- Without dates, the week is that of the prediction.
weeks (span) as (
    values ('week'), ('all')
),

orders as (
    select
        outcomes.*,
        case
            when weeks.span = 'week'
                then date_trunc('week', coalesce(outcomes.ordered_at, outcomes.predicted_at))
        end as week_start_at,
        promises.mean_f1,
        promises.mean_f1_low,
        promises.mean_f1_high,
        promises.precision_at_5,
        promises.precision_at_5_low,
        promises.precision_at_5_high,
        promises.log_loss,
        promises.log_loss_low,
        promises.log_loss_high
    from outcomes
    left join promises
        on
            outcomes.model_version = promises.model_version
            and promises.segment
            = 'context=' || case outcomes.context_source when 'open' then 'order' else 'typical' end
    cross join weeks
),

final as (
    select
        model_version,
        cast(week_start_at as timestamp) as week_start_at,
        cast(count(*) as integer) as order_count,
        cast(count(distinct user_id) as integer) as shopper_count,
        {{ exact_sum('f1_share', bits=32) }} / count(*) as mean_f1_share,
        {{ ratio_end('f1_share', '1', '-', bits=26) }} as mean_f1_low_share,
        {{ ratio_end('f1_share', '1', '+', bits=26) }} as mean_f1_high_share,
        {{ exact_sum('mean_f1', bits=32) }} / count(*) as promised_mean_f1_share,
        {{ exact_sum('mean_f1_low', bits=32) }} / count(*) as promised_mean_f1_low_share,
        {{ exact_sum('mean_f1_high', bits=32) }} / count(*) as promised_mean_f1_high_share,
        sum(top_5_bought_units) / (5.0 * count(*)) as precision_at_5_share,
        {{ ratio_end('top_5_bought_units', '5', '-') }} as precision_at_5_low_share,
        {{ ratio_end('top_5_bought_units', '5', '+') }} as precision_at_5_high_share,
        {{ exact_sum('precision_at_5', bits=32) }} / count(*) as promised_precision_at_5_share,
        {{ exact_sum('precision_at_5_low', bits=32) }} / count(*)
            as promised_precision_at_5_low_share,
        {{ exact_sum('precision_at_5_high', bits=32) }} / count(*)
            as promised_precision_at_5_high_share,
        {{ exact_sum('log_loss_sum', bits=28) }} / sum(pair_count) as log_loss,
        {{ ratio_end('log_loss_sum', 'pair_count', '-', bits=16, is_share=false) }}
            as log_loss_low,
        {{ ratio_end('log_loss_sum', 'pair_count', '+', bits=16, is_share=false) }}
            as log_loss_high,
        {{ exact_sum('log_loss * pair_count', bits=28) }} / sum(pair_count) as promised_log_loss,
        {{ exact_sum('log_loss_low * pair_count', bits=28) }} / sum(pair_count)
            as promised_log_loss_low,
        {{ exact_sum('log_loss_high * pair_count', bits=28) }} / sum(pair_count)
            as promised_log_loss_high,
        {{ exact_sum('expected_units', bits=26) }} as expected_units,
        cast(sum(bought_units) as integer) as bought_units,
        sum(bought_units) / nullif({{ exact_sum('expected_units', bits=26) }}, 0) as bought_ratio,
        {{ ratio_end('bought_units', 'expected_units', '-', bits=16, is_share=false) }}
            as bought_low_ratio,
        {{ ratio_end('bought_units', 'expected_units', '+', bits=16, is_share=false) }}
            as bought_high_ratio
    from orders
    group by model_version, week_start_at
)

select * from final
