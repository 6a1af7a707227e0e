-- The log has only lines: lines with the same order_id are one order, at the time of the first.
-- Orders after the scoring date are left out. The intake accepts them only if the settings allow
-- orders ahead of today.
with

lines as (
    select * from {{ source('order_log', 'order_lines') }}
),

orders as (
    select
        order_id,
        min(user_id) as user_id,
        min(ordered_at) as ordered_at,
        min(is_timed) as is_timed
    from lines
    group by order_id
    having cast(min(ordered_at) as date) <= coalesce({{ as_of_date() }}, date '9999-12-31')
),

numbered as (
    select
        *,
        row_number() over (partition by user_id order by ordered_at, order_id) as order_number,
        lag(ordered_at) over (partition by user_id order by ordered_at, order_id) as prior_at
    from orders
),

final as (
    select
        order_id,
        user_id,
        cast(order_number as integer) as order_number,
        cast(extract(dow from ordered_at) as integer) as order_dow,
        case when is_timed then cast(extract(hour from ordered_at) as integer) end as order_hour,
        cast(cast(ordered_at as date) - cast(prior_at as date) as integer)
            as days_since_prior_order,
        false as is_open,
        ordered_at
    from numbered
)

select * from final
