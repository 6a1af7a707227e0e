with

outcomes as (
    select * from {{ source('ml', 'outcomes') }}
),

final as (
    select
        order_id,
        user_id,
        batch_id,
        model_version,
        predicted_at,
        context_source,
        ordered_at,
        pair_count,
        expected_units,
        bought_units,
        basket_units,
        basket_bought_units,
        top_5_bought_units,
        -- Two empty sets are equal.
        case
            when basket_units + bought_units = 0 then 1
            else 2.0 * basket_bought_units / (basket_units + bought_units)
        end as f1_share,
        top_5_bought_units / 5.0 as precision_at_5_share,
        log_loss_sum
    from outcomes
)

select * from final
