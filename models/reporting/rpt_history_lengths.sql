with

shoppers as (
    select
        {{ history_length('order_count') }} as history,
        order_count,
        pair_count,
        basket_item_count,
        expected_units
    from {{ ref('fct_shoppers') }}
),

orders as (
    select
        -- Without the test order, which is not part of the history.
        {{ history_length('order_number - 1') }} as history,
        pair_count,
        bought_units,
        expected_units
    from {{ ref('fct_test_orders') }}
),

scored as (
    select
        history,
        min(order_count) as least_orders,
        count(*) as shopper_count,
        sum(pair_count) as pair_count,
        cast({{ exact_sum('expected_units') }} as double) / sum(pair_count) as mean_probability,
        cast({{ exact_sum('expected_units') }} as double) / count(*) as mean_expected_units,
        sum(basket_item_count) / cast(count(*) as double) as mean_basket_items
    from shoppers
    group by history
),

tested as (
    select
        history,
        count(*) as shopper_count,
        sum(pair_count) as pair_count,
        cast({{ exact_sum('expected_units') }} as double) / sum(pair_count) as predicted,
        sum(bought_units) / cast(sum(pair_count) as double) as observed,
        {{ ratio_end('bought_units', 'pair_count', '-') }} as observed_low,
        {{ ratio_end('bought_units', 'pair_count', '+') }} as observed_high
    from orders
    group by history
),

final as (
    select
        scored.history,
        cast(scored.least_orders as integer) as least_order_count,
        cast(scored.shopper_count as integer) as shopper_count,
        cast(scored.pair_count as integer) as pair_count,
        scored.mean_probability as mean_probability_share,
        scored.mean_expected_units,
        scored.mean_basket_items as mean_basket_item_count,
        cast(tested.shopper_count as integer) as test_shopper_count,
        cast(tested.pair_count as integer) as test_pair_count,
        tested.predicted as predicted_share,
        tested.observed as observed_share,
        tested.observed_low as observed_low_share,
        tested.observed_high as observed_high_share
    from scored
    left join tested on scored.history = tested.history
)

select * from final
order by least_order_count
