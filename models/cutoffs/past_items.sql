-- What the past is, decided here and nowhere else: the lines of the orders before the target.
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
        order_items.order_id,
        order_items.product_id,
        order_items.aisle_id,
        order_items.order_number,
        order_items.order_day,
        order_items.order_dow,
        order_items.order_hour,
        order_items.days_since_prior_order,
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
