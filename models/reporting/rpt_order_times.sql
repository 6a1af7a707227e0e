-- Orders and reorder rates by hour, by weekday, and by weekday and hour. All orders count; the
-- rates are those of test orders. The interval treats an order as one draw, because the products of
-- an order are not independent.
with

orders as (
    select * from {{ ref('fct_orders') }}
),

test_orders as (
    select * from {{ ref('fct_test_orders') }}
),

grains as (
    select 'hour' as grain
    union all
    select 'weekday' as grain
    union all
    select 'weekday and hour' as grain
),

placed as (
    select
        grains.grain,
        case when grains.grain <> 'hour' then orders.order_dow end as order_dow,
        case when grains.grain <> 'weekday' then orders.order_hour end as order_hour,
        orders.ordered_at,
        test_orders.pair_count,
        test_orders.expected_units,
        test_orders.bought_units
    from orders
    left join test_orders on orders.order_id = test_orders.order_id
    cross join grains
    -- Orders without a time of day count only in the rows per weekday.
    where grains.grain = 'weekday' or orders.order_hour is not null
),

sums as (
    select
        grain,
        order_dow,
        order_hour,
        count(ordered_at) > 0 as has_calendar,
        count(*) as order_count,
        count(pair_count) as test_order_count,
        coalesce(sum(pair_count), 0) as pair_count,
        cast({{ exact_sum('expected_units') }} as double) / sum(pair_count) as predicted,
        cast(sum(bought_units) as double) / sum(pair_count) as observed,
        {{ ratio_end('bought_units', 'pair_count', '-') }} as observed_low,
        {{ ratio_end('bought_units', 'pair_count', '+') }} as observed_high
    from placed
    group by grain, order_dow, order_hour
),

final as (
    select
        grain,
        case
            when not has_calendar then 'Day ' || cast(order_dow as varchar)
            when order_dow = 0 then 'Sunday'
            when order_dow = 1 then 'Monday'
            when order_dow = 2 then 'Tuesday'
            when order_dow = 3 then 'Wednesday'
            when order_dow = 4 then 'Thursday'
            when order_dow = 5 then 'Friday'
            when order_dow = 6 then 'Saturday'
        end as weekday,
        order_dow,
        order_hour,
        cast(order_count as integer) as order_count,
        cast(test_order_count as integer) as test_order_count,
        cast(pair_count as integer) as pair_count,
        predicted as predicted_share,
        observed as observed_share,
        observed_low as observed_low_share,
        observed_high as observed_high_share
    from sums
)

select * from final
order by grain, order_dow, order_hour
