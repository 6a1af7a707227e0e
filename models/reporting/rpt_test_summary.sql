with

orders as (
    select * from {{ ref('fct_test_orders') }}
),

final as (
    select
        run_id,
        cast(count(*) as integer) as shopper_count,
        cast(sum(pair_count) as integer) as pair_count,
        cast(sum(item_count) as integer) as item_count,
        cast(sum(bought_units) as integer) as bought_units,
        cast({{ exact_sum('expected_units') }} as double) as expected_units,
        cast({{ exact_sum('expected_units') }} as double) / sum(pair_count) as predicted_share,
        cast(sum(bought_units) as double) / sum(pair_count) as observed_share,
        cast(sum(bought_units) as double) / sum(item_count) as bought_before_share,
        min(ordered_at) as first_ordered_at,
        max(ordered_at) as last_ordered_at
    from orders
    group by run_id
)

select * from final
