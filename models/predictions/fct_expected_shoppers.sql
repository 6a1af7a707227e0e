with

predictions as (
    select * from {{ ref('fct_predictions') }}
),

final as (
    select
        product_id,
        batch_id,
        {{ exact_sum('reorder_probability') }} as expected_shoppers,
        {{ exact_sum('reorder_probability * (1 - reorder_probability)') }} as shoppers_variance,
        cast(count(*) as integer) as shopper_count,
        cast(sum(case when in_basket then 1 else 0 end) as integer) as basket_count
    from predictions
    group by product_id, batch_id
)

select * from final
order by product_id
