with

past_items as (
    select * from {{ ref('past_items') }}
),

targets as (
    select * from {{ ref('targets') }}
),

feat_users as (
    select * from {{ ref('feat_users') }}
),

-- Shares, not counts: a cutoff may be built for fewer shoppers than the one that is scored.
population as (
    select
        cutoff,
        count(*) as users,
        sum(user_order_count) as orders
    from feat_users
    group by cutoff
),

lines as (
    select
        past_items.*,
        -- Orders that the shopper placed since: the chances there were to buy it again.
        targets.order_number - 1 - past_items.order_number as chances
    from past_items
    inner join targets
        on past_items.cutoff = targets.cutoff and past_items.user_id = targets.user_id
),

totals as (
    select
        cutoff,
        product_id,
        count(*) as purchases,
        sum(case when purchase_number = 1 then 1 else 0 end) as buyers,
        sum(case when purchase_number = 2 then 1 else 0 end) as repeat_buyers,
        sum(case when purchase_number = 1 then chances end) as chances_since_first,
        sum(case when chances >= 1 then 1 else 0 end) as followed_by_1,
        sum(case when gap_orders = 1 then 1 else 0 end) as again_in_1,
        sum(case when chances >= 3 then 1 else 0 end) as followed_by_3,
        sum(case when gap_orders <= 3 and chances + gap_orders >= 3 then 1 else 0 end)
            as again_in_3,
        median(gap_orders) as gap_median_orders,
        median(gap_days) as gap_median_days,
        {{ exact_sum('cart_position / order_item_count') }} as cart_position_sum,
        count(cart_position) as cart_positions
    from lines
    group by cutoff, product_id
),

final as (
    select
        totals.cutoff,
        totals.product_id,
        cast(totals.purchases / population.orders as float) as product_order_share,
        cast(totals.buyers / population.users as float) as product_user_share,
        cast(totals.purchases / totals.buyers as float) as product_purchases_per_user,
        cast((totals.purchases - totals.buyers) / totals.purchases as float)
            as product_reordered_share,
        cast((totals.buyers - totals.repeat_buyers) / totals.buyers as float)
            as product_one_time_buyer_share,
        cast((totals.purchases - totals.buyers) / nullif(totals.chances_since_first, 0) as float)
            as product_repeat_rate,
        cast(totals.again_in_1 / nullif(totals.followed_by_1, 0) as float)
            as product_again_in_1_share,
        cast(totals.again_in_3 / nullif(totals.followed_by_3, 0) as float)
            as product_again_in_3_share,
        cast(totals.gap_median_orders as float) as product_gap_median_orders,
        cast(totals.gap_median_days as float) as product_gap_median_days,
        cast(cast(totals.cart_position_sum as double) / nullif(totals.cart_positions, 0) as float)
            as product_cart_position_share
    from totals
    inner join population on totals.cutoff = population.cutoff
)

select * from final
order by cutoff, product_id
