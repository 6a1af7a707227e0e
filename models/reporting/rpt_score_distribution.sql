with

predictions as (
    select * from {{ ref('fct_predictions') }}
),

binned as (
    select
        batch_id,
        cast(least(floor(reorder_probability * 20), 19) as integer) as bin
    from predictions
),

final as (
    select
        batch_id,
        bin,
        cast(bin / 20.0 as double) as low_share,
        cast((bin + 1) / 20.0 as double) as high_share,
        cast(count(*) as integer) as pair_count
    from binned
    group by batch_id, bin
)

select * from final
order by bin
