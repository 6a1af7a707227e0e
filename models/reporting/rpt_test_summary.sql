with

orders as (
    select
        *,
        row_number() over (partition by run_id order by ordered_at) as place,
        count(ordered_at) over (partition by run_id) as dated_count
    from {{ ref('fct_test_orders') }}
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
        {{ nearest_rank('ordered_at', 'place', 'dated_count', 0.1) }} as p10_ordered_at,
        {{ nearest_rank('ordered_at', 'place', 'dated_count', 0.5) }} as p50_ordered_at,
        {{ nearest_rank('ordered_at', 'place', 'dated_count', 0.9) }} as p90_ordered_at
    from orders
    left join protocols on orders.run_id = protocols.run_id
    group by orders.run_id
)

select * from final
