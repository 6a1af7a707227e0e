-- The labels of products that shoppers had never bought, as `examples` has those of pairs.
with

order_items as (
    select * from {{ ref('fct_order_items') }}
),

targets as (
    select * from {{ ref('targets') }}
    where cutoff > 0
),

final as (
    select
        targets.cutoff,
        order_items.user_id,
        order_items.product_id
    from order_items
    inner join targets on order_items.order_id = targets.order_id
    where order_items.purchase_number = 1
)

select * from final
