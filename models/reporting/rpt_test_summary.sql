with

orders as (
    select * from {{ ref('fct_test_orders') }}
),

protocols as (
    select
        run_id,
        max(protocol) as protocol
    from {{ source('ml', 'metrics') }}
    group by run_id
),

final as (
    select
        orders.run_id,
        max(protocols.protocol) as protocol,
        coalesce(max(protocols.protocol) <> 'holdout', false) as is_by_folds,
        cast(count(*) as integer) as shopper_count,
        cast(sum(orders.pair_count) as integer) as pair_count,
        cast(sum(orders.item_count) as integer) as item_count,
        cast(sum(orders.bought_units) as integer) as bought_units,
        cast({{ exact_sum('orders.expected_units') }} as double) as expected_units,
        cast({{ exact_sum('orders.expected_units') }} as double) / sum(orders.pair_count)
            as predicted_share,
        cast(sum(orders.bought_units) as double) / sum(orders.pair_count) as observed_share,
        cast(sum(orders.bought_units) as double) / sum(orders.item_count) as bought_before_share,
        min(orders.ordered_at) as first_ordered_at,
        max(orders.ordered_at) as last_ordered_at
    from orders
    left join protocols on orders.run_id = protocols.run_id
    group by orders.run_id
)

select * from final
