-- The newest list, without robots. Nothing but `has_times` is known if there is no list.
with

days as (
    select count(*) > 0 as has_times from {{ ref('user_days') }}
),

published as (
    select max(batch_id) as batch_id from {{ ref('fct_purchase_propensity') }}
),

lists as (
    select * from {{ source('ml', 'purchase_lists') }}
),

batches as (
    select * from {{ source('ml', 'purchase_batches') }}
),

newest as (
    select
        lists.batch_id,
        max(lists.cutoff_at) as cutoff_at,
        max(lists.window_end_at) as window_end_at,
        cast(count(*) as integer) as shopper_count,
        cast(sum(case when lists.is_held_out then 1 else 0 end) as integer) as held_out_count,
        {{ exact_sum('lists.purchase_probability', bits=35) }} as expected_buyers
    from lists
    inner join published on lists.batch_id = published.batch_id
    group by lists.batch_id
),

final as (
    select
        days.has_times,
        newest.batch_id,
        batches.model_name,
        batches.model_version,
        newest.cutoff_at,
        newest.window_end_at,
        newest.shopper_count,
        newest.held_out_count,
        newest.expected_buyers,
        newest.expected_buyers / newest.shopper_count as mean_probability_share
    from days
    left join newest on true
    left join batches on newest.batch_id = batches.batch_id
)

select * from final
