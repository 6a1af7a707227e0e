-- Observed shares of pairs with about the same predicted probability. The interval assumes
-- independent pairs.
with

bins as (
    select * from {{ source('ml', 'calibration_bins') }}
),

production as (
    select run_id
    from {{ ref('rpt_model_comparison') }}
    where is_shown and is_production
),

final as (
    select
        bins.run_id,
        bins.model_name,
        cast(bins.bin as integer) as bin,
        cast(bins.n as integer) as pair_count,
        bins.mean_predicted as predicted_share,
        bins.mean_observed as observed_share,
        {{ wilson_end('bins.mean_observed', 'bins.n', '-') }} as observed_low_share,
        {{ wilson_end('bins.mean_observed', 'bins.n', '+') }} as observed_high_share
    from bins
    inner join production on bins.run_id = production.run_id
)

select * from final
order by bin
