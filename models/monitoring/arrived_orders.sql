-- The first order after those that a shopper's predictions knew. Its time decides whether it is
-- after, because a correction of the past can change the numbers. Without times, its number does.
with

awaited as (
    select * from {{ source('ml', 'awaited_orders') }}
    where source = '{{ env_var("RESTOCK_SOURCE", "complete_journey") }}'
),

orders as (
    select * from {{ ref('fct_orders') }}
    where not is_open
),

later as (
    select
        awaited.*,
        orders.order_id,
        orders.ordered_at,
        row_number() over (partition by orders.user_id order by orders.order_number) as place
    from orders
    inner join awaited
        on
            orders.user_id = awaited.user_id
            and (
                orders.ordered_at > awaited.last_ordered_at
                or (
                    awaited.last_ordered_at is null
                    and orders.order_number > awaited.last_order_number
                )
            )
),

final as (
    select
        user_id,
        order_id,
        batch_id,
        model_version,
        predicted_at,
        context_source,
        ordered_at
    from later
    where place = 1
)

select * from final
