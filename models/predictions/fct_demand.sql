with

predictions as (
    select * from {{ ref('fct_predictions') }}
),

final as (
    select
        product_id,
        batch_id,
        -- A shopper who buys the product counts as one unit, so the expected count is a sum of
        -- probabilities.
        {{ exact_sum('reorder_probability') }} as expected_units,
        {{ exact_sum('reorder_probability * (1 - reorder_probability)') }} as units_variance,
        cast(count(*) as integer) as shopper_count,
        cast(sum(case when in_basket then 1 else 0 end) as integer) as basket_count
    from predictions
    group by product_id, batch_id
)

select * from final
order by product_id
