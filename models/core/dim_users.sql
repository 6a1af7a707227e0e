with

orders as (
    select * from {{ ref('fct_orders') }}
),

final as (
    select
        user_id,
        cast(sum(case when is_open then 0 else 1 end) as integer) as known_order_count,
        cast(sum(case when is_open then 1 else 0 end) as integer) as open_order_count,
        min(ordered_at) as first_ordered_at,
        max(ordered_at) as last_ordered_at
    from orders
    group by user_id
)

select * from final
