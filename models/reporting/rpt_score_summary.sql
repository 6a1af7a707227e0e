with

shoppers as (
    select * from {{ ref('fct_shoppers') }}
),

batches as (
    select * from {{ source('ml', 'batches') }}
),

orders as (
    select * from {{ ref('fct_orders') }}
),

newest as (
    select max(ordered_at) as newest_ordered_at
    from orders
    where not is_open
),

final as (
    select
        shoppers.batch_id,
        max(batches.model_name) as model_name,
        max(batches.model_version) as model_version,
        cast(sum(shoppers.pair_count) as integer) as pair_count,
        cast(count(*) as integer) as shopper_count,
        cast(sum(case when shoppers.basket_item_count > 0 then 1 else 0 end) as integer)
            as basket_count,
        cast(sum(shoppers.basket_item_count) as integer) as basket_item_count,
        cast(sum(shoppers.basket_item_count) as double) / count(*) as mean_basket_item_count,
        {{ exact_sum('shoppers.expected_units') }} / sum(shoppers.pair_count)
            as mean_probability_share,
        cast(sum(shoppers.above_half_count) as double) / sum(shoppers.pair_count)
            as above_half_share,
        cast({{ exact_sum('shoppers.expected_units') }} as double) as expected_units,
        cast(sum(case when shoppers.context_source = 'typical' then 1 else 0 end) as integer)
            as typical_context_count,
        max(newest.newest_ordered_at) as newest_ordered_at,
        max(batches.finished_at) as scored_at
    from shoppers
    inner join batches on shoppers.batch_id = batches.batch_id
    cross join newest
    group by shoppers.batch_id
)

select * from final
