-- Aisles most at risk come first. An aisle that is many units below the average has many shoppers
-- and a low probability that they come back.
with

aisles as (
    select * from {{ ref('demand_intervals') }}
    where level = 'aisle'
),

bands as (
    select
        band,
        min_probability_ratio as low_ratio,
        lead(min_probability_ratio) over (order by min_probability_ratio) as high_ratio
    from {{ ref('risk_bands') }}
),

overall as (
    select sum(expected_units) / sum(pair_count) as mean_probability from aisles
),

rated as (
    select
        aisles.*,
        aisles.expected_units / aisles.pair_count as mean_probability,
        aisles.expected_units / aisles.pair_count / overall.mean_probability as probability_ratio,
        aisles.pair_count * overall.mean_probability - aisles.expected_units as short_units
    from aisles
    cross join overall
),

final as (
    select
        rated.department,
        rated.aisle,
        bands.band,
        rated.pair_count,
        rated.mean_probability as mean_probability_share,
        rated.probability_ratio,
        rated.expected_units,
        rated.short_units,
        rated.test_pair_count,
        rated.test_expected_units / nullif(rated.test_pair_count, 0) as predicted_share,
        rated.test_bought_units / cast(nullif(rated.test_pair_count, 0) as double)
            as observed_share,
        cast(
            row_number()
                over (order by rated.short_units desc, rated.department asc, rated.aisle asc)
            as integer
        ) as risk_rank
    from rated
    inner join bands
        on
            rated.probability_ratio >= bands.low_ratio
            and (rated.probability_ratio < bands.high_ratio or bands.high_ratio is null)
)

select * from final
order by risk_rank
