-- The KPIs of the newest batch, which `restock` adds to the history. A view, because some steps
-- write after this model is built.
with

summary as (
    select * from {{ ref('rpt_score_summary') }}
),

model as (
    select * from {{ ref('rpt_model_comparison') }}
    where is_production and is_shown
),

verdicts as (
    select * from {{ ref('rpt_verdict') }}
    where task = 'reorder'
),

purchase_verdicts as (
    select * from {{ ref('rpt_verdict') }}
    where task = 'purchase'
),

buyers as (
    select {{ exact_sum('purchase_probability') }} as expected_count
    from {{ source('ml', 'purchase_predictions') }}
),

week_buyers as (
    select {{ exact_sum('purchase_probability') }} as expected_count
    from {{ source('ml', 'purchase_week_predictions') }}
),

week_demand as (
    select {{ exact_sum('expected_units') }} as expected_units
    from {{ ref('fct_demand') }}
    where level = 'department'
),

drifting as (
    select count(*) as shopper_count
    from {{ ref('fct_shoppers') }}
    where is_drifting
),

files as (
    select sum(rejected_count) as rejected_count from {{ ref('rpt_raw_files') }}
),

figures as (
    select
        summary.batch_id,
        summary.scored_at as finished_at,
        summary.shopper_count as shoppers,
        summary.pair_count as pairs,
        summary.mean_probability_share as mean_probability,
        summary.expected_units,
        summary.basket_count as baskets,
        summary.basket_item_count as basket_items,
        buyers.expected_count as expected_buyers,
        week_buyers.expected_count as expected_week_buyers,
        week_demand.expected_units as expected_week_units,
        drifting.shopper_count as drifting_shoppers,
        cast(summary.newest_ordered_at as date) as newest_order,
        files.rejected_count as rejected_rows,
        model.auc,
        model.log_loss,
        model.precision_at_5_share as precision_at_5,
        model.mean_f1_share as mean_f1,
        model.calibration_error_share as calibration_error,
        verdicts.verdict,
        verdicts.difference as verdict_difference,
        verdicts.better_share as verdict_better_share,
        verdicts.worse_share as verdict_worse_share,
        purchase_verdicts.verdict as purchase_verdict,
        purchase_verdicts.difference as purchase_verdict_difference
    from summary
    cross join buyers
    cross join week_buyers
    cross join week_demand
    cross join drifting
    cross join files
    left join model on true
    left join verdicts on true
    left join purchase_verdicts on true
),

long as (
    {% set texts = ['newest_order', 'verdict', 'purchase_verdict'] %}
    {% set numbers = [
        'shoppers', 'pairs', 'mean_probability', 'expected_units', 'baskets', 'basket_items',
        'expected_buyers', 'expected_week_buyers', 'expected_week_units', 'drifting_shoppers',
        'rejected_rows', 'auc', 'log_loss', 'precision_at_5', 'mean_f1', 'calibration_error',
        'verdict_difference', 'verdict_better_share', 'verdict_worse_share',
        'purchase_verdict_difference',
    ] %}
    {% for kpi in numbers + texts %}
        select
            batch_id,
            finished_at,
            '{{ kpi }}' as kpi,
            cast({{ 'null' if kpi in texts else kpi }} as double) as value,
            cast({{ kpi if kpi in texts else 'null' }} as varchar) as value_text
        from figures
        {% if not loop.last %}union all{% endif %}
    {% endfor %}
),

final as (
    select * from long
    where value is not null or value_text is not null
)

select * from final
