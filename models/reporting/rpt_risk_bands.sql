with

bands as (
    select
        band,
        min_return_ratio as low_ratio,
        lead(min_return_ratio) over (order by min_return_ratio) as high_ratio
    from {{ ref('risk_bands') }}
),

aisles as (
    select * from {{ ref('rpt_aisles') }}
),

final as (
    select
        bands.band,
        bands.low_ratio,
        bands.high_ratio,
        cast(count(aisles.aisle) as integer) as aisle_count,
        cast(coalesce({{ exact_sum('aisles.expected_returns') }}, 0) as double) as expected_returns,
        cast(coalesce({{ exact_sum('aisles.past_returns') }}, 0) as double) as past_returns
    from bands
    left join aisles on bands.band = aisles.band
    group by bands.band, bands.low_ratio, bands.high_ratio
)

select * from final
order by low_ratio
