-- Cutoff 1 alone can be one season: the last orders of most shoppers are from the log's last weeks.
with

metrics as (
    select
        *,
        case segment when 'all' then 1 else cast(split_part(segment, '=', 2) as integer) end
            as cutoff
    from {{ source('ml', 'metrics') }}
    where segment = 'all' or segment like 'cutoff=%'
),

shown as (
    select
        run_id,
        model_name,
        is_production
    from {{ ref('rpt_model_comparison') }}
    where is_shown and model_name <> 'ceiling'
),

test_orders as (
    select * from {{ ref('fct_test_orders') }}
),

targets as (
    select * from {{ ref('targets') }}
    where cutoff > 0
),

orders as (
    select * from {{ ref('fct_orders') }}
),

dated as (
    select
        targets.cutoff,
        orders.ordered_at,
        row_number() over (partition by targets.cutoff order by orders.ordered_at) as place,
        count(orders.ordered_at) over (partition by targets.cutoff) as dated_count
    from test_orders
    inner join targets on test_orders.user_id = targets.user_id
    inner join orders on targets.order_id = orders.order_id
),

periods as (
    select
        cutoff,
        {{ nearest_rank('ordered_at', 'place', 'dated_count', 0.1) }} as p10_ordered_at,
        {{ nearest_rank('ordered_at', 'place', 'dated_count', 0.5) }} as p50_ordered_at,
        {{ nearest_rank('ordered_at', 'place', 'dated_count', 0.9) }} as p90_ordered_at
    from dated
    group by cutoff
),

final as (
    select
        metrics.run_id,
        metrics.cutoff,
        metrics.model_name,
        max(shown.is_production) as is_production,
        max(periods.p10_ordered_at) as p10_ordered_at,
        max(periods.p50_ordered_at) as p50_ordered_at,
        max(periods.p90_ordered_at) as p90_ordered_at,
        {{ metric('auc') }} as auc,
        {{ metric('auc_low') }} as auc_low,
        {{ metric('auc_high') }} as auc_high,
        {{ metric('log_loss') }} as log_loss,
        {{ metric('expected_calibration_error') }} as calibration_error_share,
        {{ metric('precision_at_5') }} as precision_at_5_share,
        {{ metric('precision_at_5_low') }} as precision_at_5_low_share,
        {{ metric('precision_at_5_high') }} as precision_at_5_high_share,
        cast({{ metric('shoppers') }} as integer) as shopper_count,
        cast({{ metric('pairs') }} as integer) as pair_count
    from metrics
    inner join shown
        on metrics.run_id = shown.run_id and metrics.model_name = shown.model_name
    left join periods on metrics.cutoff = periods.cutoff
    group by metrics.run_id, metrics.cutoff, metrics.model_name
)

select * from final
order by cutoff asc, auc desc
