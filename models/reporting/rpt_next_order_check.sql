-- A backtest of next_order_on: each test shopper's last order, expected one median gap after the
-- order before it.
with

orders as (
    select * from {{ ref('fct_orders') }}
    where ordered_at is not null
),

targets as (
    select * from {{ ref('targets') }}
    where cutoff = 1 and split = 'test'
),

expected as (
    select
        targets.user_id,
        targets.days_since_prior_order as gap_days,
        cast(round(median(orders.days_since_prior_order)) as integer) as median_gap_days
    from targets
    inner join orders
        on
            targets.user_id = orders.user_id
            and orders.order_number < targets.order_number
    group by targets.user_id, targets.days_since_prior_order
),

final as (
    select
        cast(count(*) as integer) as order_count,
        cast(median(abs(gap_days - median_gap_days)) as double) as median_error_days,
        avg(abs(gap_days - median_gap_days)) as mean_error_days
    from expected
)

select * from final
