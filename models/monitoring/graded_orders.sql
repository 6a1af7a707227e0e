-- Grades the predictions of each shopper whose next order has come. The metrics are those of
-- ml/modelling/metrics.py: they are about products bought before, so a product without a prediction
-- counts for nothing. IDs are text, because their type can change with the next raw files.
with

arrived as (
    select * from {{ ref('arrived_orders') }}
),

predictions as (
    select * from {{ source('ml', 'predictions') }}
),

order_items as (
    select * from {{ ref('fct_order_items') }}
),

bought as (
    select
        order_items.user_id,
        order_items.product_id
    from order_items
    inner join arrived
        on
            order_items.user_id = arrived.user_id
            and order_items.order_id = arrived.order_id
),

pairs as (
    select
        predictions.user_id,
        cast(predictions.reorder_probability as double) as probability,
        case when predictions.in_basket then 1 else 0 end as is_in_basket,
        case when predictions.rank_in_user <= 5 then 1 else 0 end as is_in_top_5,
        case when bought.product_id is null then 0 else 1 end as is_bought
    from predictions
    inner join arrived on predictions.user_id = arrived.user_id
    left join bought
        on
            predictions.user_id = bought.user_id
            and predictions.product_id = bought.product_id
),

totals as (
    select
        user_id,
        count(*) as pair_count,
        {{ exact_sum('probability', bits=35) }} as expected_units,
        sum(is_bought) as bought_units,
        sum(is_in_basket) as basket_units,
        sum(is_in_basket * is_bought) as basket_bought_units,
        sum(is_in_top_5 * is_bought) as top_5_bought_units,
        -- No probability is quite 0 or 1.
        {{ exact_sum(
            '-ln(greatest(case is_bought when 1 then probability else 1 - probability end, 2.22e-16))',
            bits=35
        ) }} as log_loss_sum
    from pairs
    group by user_id
),

final as (
    select
        cast(arrived.order_id as varchar) as order_id,
        cast(arrived.user_id as varchar) as user_id,
        arrived.batch_id,
        arrived.model_version,
        arrived.predicted_at,
        arrived.context_source,
        arrived.ordered_at,
        cast(totals.pair_count as integer) as pair_count,
        totals.expected_units,
        cast(totals.bought_units as integer) as bought_units,
        cast(totals.basket_units as integer) as basket_units,
        cast(totals.basket_bought_units as integer) as basket_bought_units,
        cast(totals.top_5_bought_units as integer) as top_5_bought_units,
        totals.log_loss_sum
    from totals
    inner join arrived on totals.user_id = arrived.user_id
)

select * from final
