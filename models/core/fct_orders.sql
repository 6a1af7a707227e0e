with

orders as (
    select * from {{ staged('orders') }}
),

final as (
    select
        order_id,
        user_id,
        cast(order_number as integer) as order_number,
        -- Counted from each shopper's first order, because a source may have no dates.
        cast(sum(coalesce(days_since_prior_order, 0)) over (
            partition by user_id
            order by order_number
            rows between unbounded preceding and current row
        ) as integer) as order_day,
        cast(order_dow as integer) as order_dow,
        cast(order_hour as integer) as order_hour,
        cast(days_since_prior_order as integer) as days_since_prior_order,
        is_open,
        ordered_at
    from orders
)

select * from final
order by user_id, order_number
