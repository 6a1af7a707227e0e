-- The only model that decides what the past is: the lines of the orders before the target, and how
-- long before the target they were.
with

order_items as (
    select * from {{ ref('fct_order_items') }}
),

targets as (
    select * from {{ ref('targets') }}
),

final as (
    select
        targets.cutoff,
        order_items.user_id,
        order_items.product_id,
        order_items.aisle_id,
        order_items.order_number,
        order_items.days_since_prior_order,
        -- 1 is the order just before the target.
        targets.order_number - order_items.order_number as orders_ago,
        targets.order_day - order_items.order_day as days_ago,
        case when order_items.order_dow = targets.order_dow then 1 else 0 end as is_same_dow,
        case when abs(order_items.order_hour - targets.order_hour) <= 2 then 1 else 0 end
            as is_near_hour,
        order_items.cart_position,
        order_items.order_item_count,
        order_items.purchase_number,
        order_items.gap_orders,
        order_items.gap_days
    from order_items
    inner join targets
        on
            order_items.user_id = targets.user_id
            and order_items.order_number < targets.order_number
)

select * from final
