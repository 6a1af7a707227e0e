-- Empty for a shop without promotions. On a day without any, the calendar is taken as unknown: it
-- may have ended before. A model learns from one target in 32 what to expect then, because the
-- calendar is withheld from it; otherwise it would take every product as not on offer.
with

pair_totals as (
    select * from {{ ref('pair_totals') }}
),

targets as (
    select * from {{ ref('targets') }}
),

promotions as (
    select * from {{ ref('running_promotions') }}
),

known_days as (
    select distinct day from promotions
),

informed as (
    select
        targets.cutoff,
        targets.user_id,
        targets.ordered_on
    from targets
    inner join known_days on targets.ordered_on = known_days.day
    where
        targets.cutoff = 0
        or substr(md5(concat(targets.user_id, '-', targets.order_number)), 1, 2) >= '08'
),

final as (
    select
        pairs.cutoff,
        pairs.user_id,
        pairs.product_id,
        coalesce(promotions.promotion_count, 0) as context_promotion_count,
        coalesce(promotions.mailer_count, 0) as context_mailer_count,
        coalesce(promotions.display_count, 0) as context_display_count
    from pair_totals as pairs
    inner join informed on pairs.cutoff = informed.cutoff and pairs.user_id = informed.user_id
    left join promotions
        on informed.ordered_on = promotions.day and pairs.product_id = promotions.product_id
)

select * from final
