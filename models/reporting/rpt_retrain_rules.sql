-- The rules of the seed with their values. A view: a run reads it before it trains.
{{ config(materialized='view') }}

with

rules as (
    select * from {{ ref('retrain_rules') }}
),

-- What the run found, one row.
comparison as (
    select * from {{ source('ml', 'comparison') }}
),

decisions as (
    select * from {{ source('ml', 'decisions') }}
    where decided_by = 'run' and challenger is not null and task = 'reorder'
),

live as (
    select summary.*
    from {{ ref('rpt_live_summary') }} as summary
    inner join comparison on summary.model_version = comparison.champion
),

drift as (
    select
        max(psi) as largest_psi,
        count(psi) as feature_count
    from {{ ref('rpt_drift') }}
    where kind = 'feature'
),

-- Age, live quality and drift belong to the champion, so a rule that they fire would fire until the
-- champion goes. It makes one challenger, and the next one comes from another rule.
tried as (
    select decisions.rules
    from decisions
    inner join comparison on decisions.champion = comparison.champion
    where
        not decisions.is_promoted
        and decisions.decided_at = (select max(newest.decided_at) from decisions as newest)
),

measured as (
    select
        'changed_shoppers_share' as rule,
        cast(changed_shopper_count as double) / nullif(shopper_count, 0) as value,
        cast(null as double) as low,
        shopper_count as observation_count,
        false as is_of_champion
    from comparison

    union all

    select
        'new_lines_share' as rule,
        cast(line_count - learned_line_count as double) / nullif(learned_line_count, 0) as value,
        null as low,
        line_count as observation_count,
        false as is_of_champion
    from comparison

    union all

    select
        'model_age_days' as rule,
        model_age_days as value,
        null as low,
        null as observation_count,
        true as is_of_champion
    from comparison

    union all

    select
        'live_f1_drop_share' as rule,
        f1_drop_share as value,
        -- An interval that is not known excludes nothing.
        coalesce(f1_drop_low_share, 0) as low,
        order_count as observation_count,
        true as is_of_champion
    from live

    union all

    select
        'live_log_loss_rise_share' as rule,
        log_loss_rise_share as value,
        coalesce(log_loss_rise_low_share, 0) as low,
        order_count as observation_count,
        true as is_of_champion
    from live

    union all

    select
        'feature_psi' as rule,
        largest_psi as value,
        null as low,
        feature_count as observation_count,
        true as is_of_champion
    from drift
),

final as (
    select
        rules.rule,
        measured.value,
        rules.threshold,
        measured.low,
        cast(measured.observation_count as bigint) as observation_count,
        rules.minimum,
        coalesce(measured.is_of_champion, false) and tried.rules is not null as was_tried,
        coalesce(
            measured.value >= rules.threshold
            and coalesce(measured.observation_count, rules.minimum) >= rules.minimum
            and (measured.low is null or measured.low > 0)
            and (not measured.is_of_champion or tried.rules is null),
            false
        ) as is_fired
    from rules
    left join measured on rules.rule = measured.rule
    left join tried
        on ', ' || tried.rules || ',' like '%, ' || rules.rule || ',%'
)

select * from final
order by rule
