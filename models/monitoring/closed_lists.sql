-- Grades the lists that wait for their outcome, once their window has been seen to its end:
-- `covered_days` decides that for labels too. A buyer is a shopper of the list, targeted or
-- not, with a purchase in the window.
with

lists as (
    select * from {{ source('ml', 'purchase_lists') }}
),

batches as (
    select * from {{ source('ml', 'purchase_batches') }}
),

covered as (
    select until_day from {{ ref('covered_days') }}
),

purchases as (
    select
        cast(user_id as varchar) as user_id,
        occurred_at
    from {{ ref('fct_events') }}
    where event_type = 'purchase'
),

waiting as (
    select lists.*
    from lists
    inner join covered on lists.window_end_at <= cast(covered.until_day as timestamp)
),

buyers as (
    select distinct
        waiting.batch_id,
        waiting.user_id
    from waiting
    inner join purchases
        on
            waiting.user_id = purchases.user_id
            and purchases.occurred_at >= waiting.cutoff_at
            and purchases.occurred_at < waiting.window_end_at
),

shoppers as (
    select
        waiting.batch_id,
        waiting.cutoff_at,
        waiting.window_end_at,
        cast(waiting.purchase_probability as double) as probability,
        case when buyers.user_id is null then 0 else 1 end as is_buyer,
        case when waiting.is_targeted then 1 else 0 end as is_targeted,
        case when waiting.is_held_out then 1 else 0 end as is_held_out
    from waiting
    left join buyers
        on waiting.batch_id = buyers.batch_id and waiting.user_id = buyers.user_id
),

totals as (
    select
        batch_id,
        max(cutoff_at) as cutoff_at,
        max(window_end_at) as window_end_at,
        count(*) as shopper_count,
        sum(is_buyer) as buyer_count,
        {{ exact_sum('probability', bits=35) }} as expected_buyers,
        sum(is_targeted) as targeted_count,
        sum(is_targeted * is_buyer) as targeted_buyer_count,
        {{ exact_sum('is_targeted * probability', bits=35) }} as targeted_expected_buyers,
        -- As in ml/modelling/metrics.py, no probability is quite 0 or 1.
        {{ exact_sum(
            '-ln(greatest(case is_buyer when 1 then probability else 1 - probability end, 2.22e-16))',
            bits=35
        ) }} as loss,
        sum(is_held_out) as held_out_count,
        sum(is_held_out * is_buyer) as held_out_buyer_count,
        sum(is_held_out * is_targeted) as held_out_targeted_count,
        sum(is_held_out * is_targeted * is_buyer) as held_out_targeted_buyer_count
    from shoppers
    group by batch_id
),

final as (
    select
        totals.batch_id,
        batches.model_name,
        batches.model_version,
        totals.cutoff_at,
        totals.window_end_at,
        cast(totals.shopper_count as integer) as shopper_count,
        cast(totals.buyer_count as integer) as buyer_count,
        totals.expected_buyers,
        cast(totals.targeted_count as integer) as targeted_count,
        cast(totals.targeted_buyer_count as integer) as targeted_buyer_count,
        totals.targeted_expected_buyers,
        totals.targeted_expected_buyers / nullif(totals.expected_buyers, 0)
            as expected_recall_share,
        cast(totals.targeted_buyer_count as double) / nullif(totals.buyer_count, 0)
            as observed_recall_share,
        totals.targeted_expected_buyers / nullif(totals.targeted_count, 0)
            as expected_precision_share,
        cast(totals.targeted_buyer_count as double) / nullif(totals.targeted_count, 0)
            as observed_precision_share,
        totals.loss / totals.shopper_count as log_loss,
        cast(totals.held_out_count as integer) as held_out_count,
        cast(totals.held_out_buyer_count as integer) as held_out_buyer_count,
        cast(totals.held_out_targeted_count as integer) as held_out_targeted_count,
        cast(totals.held_out_targeted_buyer_count as integer) as held_out_targeted_buyer_count
    from totals
    left join batches on totals.batch_id = batches.batch_id
)

select * from final
