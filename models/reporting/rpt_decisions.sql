-- A view, because a run records its decisions after this model is built.
with

decisions as (
    select * from {{ source('ml', 'decisions') }}
),

final as (
    select
        decided_at,
        decided_by,
        task,
        decision,
        is_promoted,
        rules,
        reason,
        champion,
        challenger,
        test_shopper_count,
        log_loss_difference / nullif(log_loss, 0) as log_loss_difference_share,
        log_loss_difference_low / nullif(log_loss, 0) as log_loss_difference_low_share,
        log_loss_difference_high / nullif(log_loss, 0) as log_loss_difference_high_share,
        mean_f1_difference,
        mean_f1_difference_low,
        mean_f1_difference_high,
        row_number() over (order by decided_at desc, task asc) as recency_rank
    from decisions
)

select * from final
