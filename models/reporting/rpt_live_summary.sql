-- How far each model version falls short of its promise. The promise is measured on test shoppers,
-- so the interval of a difference covers chance on both sides. A view, because outcomes can still
-- come after this model is built.
with

versions as (
    select * from {{ ref('live_quality') }}
    where week_start_at is null
),

awaited as (
    select
        model_version,
        count(*) as shopper_count
    from {{ source('ml', 'awaited_orders') }}
    group by model_version
),

production as (
    select max_by(model_version, finished_at) as model_version
    from {{ source('ml', 'batches') }}
),

-- Half the length of the interval of each difference.
errors as (
    select
        model_version,
        sqrt(
            power(mean_f1_high_share - mean_f1_low_share, 2)
            + power(promised_mean_f1_high_share - promised_mean_f1_low_share, 2)
        ) / 2 as mean_f1_error,
        sqrt(
            power(precision_at_5_high_share - precision_at_5_low_share, 2)
            + power(promised_precision_at_5_high_share - promised_precision_at_5_low_share, 2)
        ) / 2 as precision_at_5_error,
        sqrt(
            power(log_loss_high - log_loss_low, 2)
            + power(promised_log_loss_high - promised_log_loss_low, 2)
        ) / 2 as log_loss_error
    from versions
),

final as (
    select
        versions.model_version,
        versions.model_version = production.model_version as is_production,
        versions.order_count,
        versions.shopper_count,
        cast(versions.shopper_count as double) / awaited.shopper_count as outcome_shopper_share,
        versions.mean_f1_share,
        versions.promised_mean_f1_share,
        1 - versions.mean_f1_share / nullif(versions.promised_mean_f1_share, 0) as f1_drop_share,
        (versions.promised_mean_f1_share - versions.mean_f1_share - errors.mean_f1_error)
        / nullif(versions.promised_mean_f1_share, 0) as f1_drop_low_share,
        versions.precision_at_5_share,
        versions.promised_precision_at_5_share,
        1 - versions.precision_at_5_share / nullif(versions.promised_precision_at_5_share, 0)
            as precision_at_5_drop_share,
        (
            versions.promised_precision_at_5_share
            - versions.precision_at_5_share
            - errors.precision_at_5_error
        ) / nullif(versions.promised_precision_at_5_share, 0) as precision_at_5_drop_low_share,
        versions.log_loss,
        versions.promised_log_loss,
        versions.log_loss / nullif(versions.promised_log_loss, 0) - 1 as log_loss_rise_share,
        (versions.log_loss - versions.promised_log_loss - errors.log_loss_error)
        / nullif(versions.promised_log_loss, 0) as log_loss_rise_low_share
    from versions
    inner join errors on versions.model_version = errors.model_version
    left join awaited on versions.model_version = awaited.model_version
    cross join production
)

select * from final
order by is_production desc, model_version desc
