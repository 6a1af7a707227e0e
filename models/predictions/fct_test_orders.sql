with

predictions as (
    select * from {{ ref('fct_test_predictions') }}
),

targets as (
    select * from {{ ref('targets') }}
    where cutoff = 1
),

orders as (
    select * from {{ ref('fct_orders') }}
),

order_items as (
    select * from {{ ref('fct_order_items') }}
),

pairs as (
    select
        run_id,
        user_id,
        cast(count(*) as integer) as pair_count,
        cast({{ exact_sum('reorder_probability') }} as double) as expected_units,
        cast(sum(case when was_bought then 1 else 0 end) as integer) as bought_units
    from predictions
    group by run_id, user_id
),

sizes as (
    select
        order_id,
        cast(count(*) as integer) as item_count
    from order_items
    group by order_id
),

final as (
    select
        targets.order_id,
        pairs.user_id,
        pairs.run_id,
        targets.order_number,
        targets.order_dow,
        targets.order_hour,
        pairs.pair_count,
        pairs.expected_units,
        pairs.bought_units,
        sizes.item_count,
        orders.ordered_at
    from pairs
    inner join targets on pairs.user_id = targets.user_id
    inner join orders on targets.order_id = orders.order_id
    inner join sizes on targets.order_id = sizes.order_id
)

select * from final
order by user_id
