-- A view, because outcomes can still come after this model is built.
with

weeks as (
    select * from {{ ref('live_quality') }}
    where week_start_at is not null
),

final as (
    select
        week_start_at,
        model_version,
        order_count,
        mean_f1_share,
        mean_f1_low_share,
        mean_f1_high_share,
        promised_mean_f1_share,
        precision_at_5_share,
        precision_at_5_low_share,
        precision_at_5_high_share,
        promised_precision_at_5_share,
        log_loss,
        log_loss_low,
        log_loss_high,
        promised_log_loss,
        expected_units,
        bought_units,
        bought_ratio,
        bought_low_ratio,
        bought_high_ratio
    from weeks
)

select * from final
order by week_start_at, model_version
