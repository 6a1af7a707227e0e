-- The outcome of past lists, with the shoppers on the list who were held out beside the others.
with

outcomes as (
    select
        *,
        targeted_count - held_out_targeted_count as written_count,
        targeted_buyer_count - held_out_targeted_buyer_count as written_buyer_count
    from {{ ref('fct_list_outcomes') }}
),

final as (
    select
        batch_id,
        model_version,
        cutoff_at,
        window_end_at,
        shopper_count,
        buyer_count,
        expected_buyers,
        targeted_count,
        expected_recall_share,
        observed_recall_share,
        expected_precision_share,
        observed_precision_share,
        log_loss,
        written_count,
        cast(written_buyer_count as double) / nullif(written_count, 0) as written_buyer_share,
        held_out_targeted_count,
        cast(held_out_targeted_buyer_count as double) / nullif(held_out_targeted_count, 0)
            as held_out_buyer_share
    from outcomes
)

select * from final
order by cutoff_at, batch_id
