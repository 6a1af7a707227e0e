-- Of the pairs bought n times and not in the last k orders, the share bought again in the next
-- order, summed over k: the Nelson-Aalen estimator of a cumulative hazard. The sum up to k is the
-- number of repeat purchases to expect of a pair in k orders.
{{ config(tags=['population']) }}

with

past_items as (
    select * from {{ ref('past_items') }}
),

waiting as (
    select
        cutoff,
        user_id,
        product_id,
        count(*) as times_bought,
        -- Orders without the product since the last purchase.
        min(orders_ago) - 1 as orders
    from past_items
    group by cutoff, user_id, product_id
),

stretches as (
    -- Gaps that a purchase ended.
    select
        cutoff,
        purchase_number - 1 as times_bought,
        gap_orders as orders,
        1 as purchases
    from past_items
    where purchase_number > 1
    union all
    -- Current gaps, which have not ended yet.
    select
        cutoff,
        times_bought,
        orders,
        0 as purchases
    from waiting
    where orders > 0
),

capped as (
    select
        cutoff,
        least(times_bought, {{ var('hazard_purchases') }}) as times_bought,
        least(orders, {{ var('hazard_orders') }}) as orders,
        purchases
    from stretches
),

counted as (
    select
        cutoff,
        times_bought,
        orders,
        sum(purchases) as purchases,
        count(*) as stretches
    from capped
    group by cutoff, times_bought, orders
),

at_risk as (
    select
        *,
        sum(stretches) over (
            partition by cutoff, times_bought
            order by orders desc
            rows between unbounded preceding and current row
        ) as at_risk
    from counted
),

final as (
    select
        cutoff,
        cast(times_bought as integer) as times_bought,
        cast(orders as integer) as orders,
        {{ exact_sum('purchases / at_risk', over='over (
            partition by cutoff, times_bought
            order by orders
            rows between unbounded preceding and current row
        )') }} as expected_purchases
    from at_risk
)

select * from final
