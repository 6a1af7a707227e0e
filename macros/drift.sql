{#-
    Compares the features and scores of a task with their profile, from the day of training. The
    population stability index is the sum over bins of (a - b) ln(a / b), where b and a are the
    shares of the bin then and now (Siddiqi 2006, "Credit Risk Scorecards", chapter 8). Half an
    extra row in every bin keeps the logarithm finite.
-#}
{% macro drift(task, sampled, key, predictions, probability) -%}
with

profiles as (
    select * from {{ source('ml', 'profiles') }}
    where task = '{{ task }}'
),

sampled as (
    select * from {{ sampled }}
),

predictions as (
    select * from {{ predictions }}
),

scored as (
    select distinct
        user_id,
        {{ key }}
    from sampled
),

observed as (
    select
        feature,
        value
    from sampled
    union all
    select
        'score' as feature,
        cast(predictions.{{ probability }} as double) as value
    from scored
    inner join predictions
        on scored.user_id = predictions.user_id and scored.{{ key }} = predictions.{{ key }}
),

-- Bin 0 has the missing values, bin 1 the values below the lowest edge.
edges as (
    select
        feature,
        {% for bin in range(2, 13) -%}
        max(case when bin = {{ bin }} then low end) as low_{{ bin }}{{ ',' if not loop.last }}
        {% endfor %}
    from profiles
    group by feature
),

binned as (
    select
        observed.feature,
        observed.value,
        case
            when observed.value is null then 0
            else
                1
                {% for bin in range(2, 13) -%}
                + case when observed.value >= edges.low_{{ bin }} then 1 else 0 end
                {% endfor %}
        end as bin
    from observed
    inner join edges on observed.feature = edges.feature
),

medians as (
    select
        feature,
        median(value) as current_median
    from binned
    group by feature
),

counted as (
    select
        feature,
        bin,
        count(*) as row_count
    from binned
    group by feature, bin
),

compared as (
    select
        profiles.model_version,
        profiles.feature,
        profiles.kind,
        profiles.bin,
        profiles.median,
        profiles.row_count as then_count,
        coalesce(counted.row_count, 0) as now_count,
        sum(profiles.row_count) over (partition by profiles.feature) as then_total,
        sum(coalesce(counted.row_count, 0)) over (partition by profiles.feature) as now_total,
        count(*) over (partition by profiles.feature) as bins
    from profiles
    left join counted
        on profiles.feature = counted.feature and profiles.bin = counted.bin
),

shares as (
    select
        *,
        (then_count + 0.5) / (then_total + 0.5 * bins) as then_share,
        (now_count + 0.5) / (now_total + 0.5 * bins) as now_share
    from compared
),

totals as (
    select
        feature,
        max(model_version) as model_version,
        max(kind) as kind,
        case
            when max(now_total) > 0
                then
                    {{ exact_sum(
                        '(now_share - then_share) * ln(now_share / then_share)', bits=40
                    ) }}
        end as psi,
        cast(sum(case when bin = 0 then then_count end) as double) / max(then_total)
            as trained_missing_share,
        cast(sum(case when bin = 0 then now_count end) as double) / nullif(max(now_total), 0)
            as current_missing_share,
        max(median) as trained_median,
        cast(max(now_total) as integer) as row_count
    from shares
    group by feature
),

final as (
    select
        '{{ task }}' as task,
        totals.model_version,
        totals.feature,
        totals.kind,
        totals.psi,
        totals.trained_missing_share,
        totals.current_missing_share,
        totals.trained_median,
        medians.current_median,
        totals.row_count
    from totals
    left join medians on totals.feature = medians.feature
)

select * from final
order by feature
{%- endmacro %}
