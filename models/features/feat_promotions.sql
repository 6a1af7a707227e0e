-- Empty for a shop without promotions. A day on which nothing is on offer is taken as unknown: the
-- calendar may end before it.
-- depends_on: {{ ref('targets') }} (by_shopper divides its shoppers into blocks)
{{ config(materialized='by_shopper') }}

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

final as (
    select
        pairs.cutoff,
        pairs.user_id,
        pairs.product_id,
        coalesce(promotions.promotion_count, 0) as context_promotion_count,
        coalesce(promotions.mailer_count, 0) as context_mailer_count,
        coalesce(promotions.display_count, 0) as context_display_count
    from pair_totals as pairs
    inner join targets on pairs.cutoff = targets.cutoff and pairs.user_id = targets.user_id
    inner join known_days on targets.ordered_on = known_days.day
    left join promotions
        on targets.ordered_on = promotions.day and pairs.product_id = promotions.product_id
)

select * from final
