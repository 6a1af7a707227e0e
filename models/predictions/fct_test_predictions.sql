-- What the model predicted for the last orders of test shoppers, and what those orders contain.
with

predictions as (
    select * from {{ source('ml', 'test_predictions') }}
),

-- With too few test shoppers, folds predict for all shoppers.
examples as (
    select * from {{ ref('examples') }}
    where cutoff = 1 and user_id in (select predictions.user_id from predictions)
),

final as (
    select
        predictions.run_id,
        predictions.user_id,
        predictions.product_id,
        predictions.reorder_probability,
        predictions.in_basket,
        examples.label as was_bought
    from predictions
    inner join examples
        on
            predictions.user_id = examples.user_id
            and predictions.product_id = examples.product_id
)

select * from final
