with

predictions as (
    select * from {{ ref('fct_test_predictions') }}
),

final as (
    select
        product_id,
        cast(count(*) as integer) as shopper_count,
        cast({{ exact_sum('reorder_probability') }} as double) as expected_shoppers,
        cast({{ exact_sum('reorder_probability * (1 - reorder_probability)') }} as double)
            as shoppers_variance,
        cast(sum(case when was_bought then 1 else 0 end) as integer) as bought_shoppers
    from predictions
    group by product_id
)

select * from final
order by product_id
