-- Products that will be bought more or less often than in the recent orders of the same shoppers.
-- The test asks for each product: if every recent order had had it with the probability of the next
-- order, would the mean of the recent orders be this far from what is expected? The sum is close to
-- normal with five units or more.
with

predictions as (
    select * from {{ ref('fct_predictions') }}
),

pair_totals as (
    select * from {{ ref('pair_totals') }}
    where cutoff = 0
),

pairs as (
    select
        predictions.product_id,
        predictions.batch_id,
        cast(predictions.reorder_probability as double) as probability,
        -- The shopper's last five orders, or those after the first purchase if they are fewer.
        least(pair_totals.orders_since_first - 1, 5) as orders,
        pair_totals.in_last_5 - case when pair_totals.orders_since_first <= 5 then 1 else 0 end
            as purchases
    from predictions
    inner join pair_totals
        on
            predictions.user_id = pair_totals.user_id
            and predictions.product_id = pair_totals.product_id
),

sums as (
    select
        product_id,
        batch_id,
        {{ exact_sum('probability') }} as expected_units,
        -- A pair without an order since its first purchase counts as unchanged.
        {{ exact_sum(
            'case when orders > 0 then purchases / cast(orders as double) else probability end'
        ) }} as recent_units,
        {{ exact_sum(
            'case when orders > 0 then probability * (1 - probability) / orders else 0 end'
        ) }} as recent_variance
    from pairs
    group by product_id, batch_id
),

standardised as (
    select
        *,
        (expected_units - recent_units) / sqrt(recent_variance) as z
    from sums
    where
        greatest(expected_units, recent_units) >= {{ var('trend_units') }}
        and recent_variance > 0
),

tested as (
    select
        *,
        {{ two_sided_p('z') }} as p_value
    from standardised
),

placed as (
    select
        *,
        p_value * count(*) over ()
        / row_number() over (order by p_value asc, product_id asc) as raw_q_value
    from tested
),

-- Benjamini and Hochberg (1995): the lowest of the products that are no more certain.
adjusted as (
    select
        *,
        min(raw_q_value) over (
            order by p_value desc, product_id desc
            rows between unbounded preceding and current row
        ) as q_value
    from placed
),

final as (
    select
        product_id,
        batch_id,
        case
            when q_value > {{ var('false_discovery_share') }} then 'steady'
            when expected_units > recent_units then 'rising'
            else 'fading'
        end as trend,
        cast(expected_units as double) as expected_units,
        cast(recent_units as double) as recent_units,
        cast(p_value as double) as p_value,
        cast(q_value as double) as q_value
    from adjusted
)

select * from final
order by product_id
