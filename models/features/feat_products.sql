{{ config(tags=['population']) }}

with

pair_totals as (
    select * from {{ ref('pair_totals') }}
),

feat_users as (
    select * from {{ ref('feat_users') }}
),

population as (
    select
        cutoff,
        count(*) as users,
        sum(user_order_count) as orders
    from feat_users
    group by cutoff
),

totals as (
    select
        cutoff,
        product_id,
        sum(purchases) as purchases,
        count(*) as buyers,
        sum(case when purchases = 1 then 1 else 0 end) as one_time_buyers,
        sum(orders_since_first - 1) as chances,
        sum(again_in_1) as again_in_1,
        sum(purchases - in_last_1) as followed_by_1,
        sum(days_since_first - days_since_last) as gap_days,
        {{ exact_sum('cart_position_sum') }} as cart_position_sum,
        sum(cart_positions) as cart_positions,
        sum(purchases_again) as purchases_again,
        sum(expected_again) as expected_again
    from pair_totals
    group by cutoff, product_id
),

final as (
    select
        totals.cutoff,
        totals.product_id,
        -- Not features: feat_user_products subtracts the shopper's own part from these sums.
        cast(totals.purchases_again as bigint) as purchases_again,
        totals.expected_again,
        -- Shares, not counts: cutoffs 1 and up may have fewer shoppers than cutoff 0.
        cast(totals.purchases / population.orders as float) as product_order_share,
        cast(totals.buyers / population.users as float) as product_user_share,
        cast(totals.purchases_again / totals.purchases as float) as product_reordered_share,
        cast(totals.one_time_buyers / totals.buyers as float) as product_one_time_buyer_share,
        cast(totals.purchases_again / nullif(totals.chances, 0) as float) as product_repeat_rate,
        cast(totals.again_in_1 / nullif(totals.followed_by_1, 0) as float)
            as product_again_in_1_share,
        cast(totals.gap_days / nullif(totals.purchases_again, 0) as float)
            as product_gap_mean_days,
        cast(totals.cart_position_sum / nullif(totals.cart_positions, 0) as float)
            as product_cart_position_share
    from totals
    inner join population on totals.cutoff = population.cutoff
)

select * from final
order by cutoff, product_id
