-- Observed shares of moments with about the same predicted probability. The interval assumes
-- independent moments.
with

bins as (
    select * from {{ source('ml', 'purchase_calibration_bins') }}
),

newest as (
    select max(run_id) as run_id from {{ source('ml', 'purchase_test_predictions') }}
),

final as (
    select
        bins.run_id,
        bins.model_name,
        cast(bins.bin as integer) as bin,
        cast(bins.n as integer) as moment_count,
        bins.mean_predicted as predicted_share,
        bins.mean_observed as observed_share,
        {{ wilson_end('bins.mean_observed', 'bins.n', '-') }} as observed_low_share,
        {{ wilson_end('bins.mean_observed', 'bins.n', '+') }} as observed_high_share
    from bins
    inner join newest on bins.run_id = newest.run_id
)

select * from final
order by bin
