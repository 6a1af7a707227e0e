-- The list of each test day, and who bought. The AUC of a day follows from the ranks of its buyers
-- (Mann-Whitney); shoppers with one probability share their mean rank.
with

tested as (
    select
        *,
        case when is_targeted then 1 else 0 end as targeted,
        case when is_buyer then 1 else 0 end as bought
    from {{ ref('fct_test_purchases') }}
),

ranked as (
    select
        *,
        rank() over (partition by cutoff_at order by purchase_probability asc)
        + (count(*) over (partition by cutoff_at, purchase_probability) - 1) / 2.0 as mean_rank
    from tested
),

totals as (
    select
        cutoff_at,
        max(run_id) as run_id,
        cast(count(*) as double) as shoppers,
        cast(sum(bought) as double) as buyers,
        {{ exact_sum('purchase_probability', bits=35) }} as expected_buyers,
        cast(sum(targeted) as double) as listed,
        cast(sum(targeted * bought) as double) as listed_buyers,
        cast(sum(mean_rank * bought) as double) as buyer_ranks
    from ranked
    group by cutoff_at
),

final as (
    select
        run_id,
        cutoff_at,
        cast(shoppers as integer) as shopper_count,
        cast(buyers as integer) as buyer_count,
        expected_buyers,
        buyers / shoppers as buyer_share,
        cast(listed as integer) as list_count,
        listed / shoppers as list_share,
        cast(listed_buyers as integer) as list_buyer_count,
        listed_buyers / nullif(buyers, 0) as recall_share,
        listed_buyers / nullif(listed, 0) as precision_share,
        (buyer_ranks - buyers * (buyers + 1) / 2) / nullif(buyers * (shoppers - buyers), 0) as auc
    from totals
)

select * from final
order by cutoff_at
