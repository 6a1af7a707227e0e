-- A forecast of the units of each product, for the week to come and for the closed weeks that the
-- week model was tested on. Repeat purchases depend on who orders: the probability that a shopper
-- orders in the week, times the units that the shopper bought again per week with an order. First
-- purchases and the naive forecast are means of the last four weeks. A week of a test counts only
-- shoppers with a probability for it.
with

coming as (
    select * from {{ ref('fct_weekly_propensity') }}
),

tested as (
    select * from {{ source('ml', 'purchase_week_test_predictions') }}
),

orders as (
    select * from {{ ref('fct_orders') }}
    where not is_open
),

order_items as (
    select * from {{ ref('fct_order_items') }}
),

covered as (
    select until_day from {{ ref('covered_days') }}
),

first_orders as (
    select cast(min(ordered_at) as date) as first_day from orders
),

-- Only orders before past_end_day are known to a forecast.
chances as (
    select
        coming.user_id,
        coming.cutoff_at,
        covered.until_day as past_end_day,
        true as is_coming,
        coming.purchase_probability
    from coming
    cross join covered
    union all
    select
        user_id,
        cutoff_at,
        cast(cutoff_at as date) as past_end_day,
        false as is_coming,
        purchase_probability
    from tested
),

-- 1 is the newest week of the past, and 0 is the week after it.
placed as (
    select
        chances.*,
        orders.order_id,
        cast(
            floor((chances.past_end_day - cast(orders.ordered_at as date) - 1) / 7) + 1 as integer
        ) as weeks_ago
    from chances
    inner join orders
        on
            chances.user_id = orders.user_id
            and cast(orders.ordered_at as date) between
            chances.past_end_day - {{ 7 * var('demand_weeks') }} and chances.past_end_day + 6
),

rates as (
    select
        user_id,
        cutoff_at,
        cast(max(purchase_probability) as double) / count(distinct weeks_ago) as week_rate
    from placed
    where weeks_ago > 0
    group by user_id, cutoff_at
),

-- A line without a quantity is one unit.
sales as (
    select
        placed.cutoff_at,
        placed.past_end_day,
        placed.is_coming,
        placed.weeks_ago,
        order_items.product_id,
        order_items.purchase_number = 1 as is_first,
        rates.week_rate,
        cast(coalesce(order_items.quantity, 1) as double) as units
    from placed
    inner join order_items on placed.order_id = order_items.order_id
    left join rates
        on
            placed.user_id = rates.user_id
            and placed.cutoff_at = rates.cutoff_at
),

by_week as (
    select
        cutoff_at,
        past_end_day,
        is_coming,
        product_id,
        weeks_ago,
        {{ exact_sum('units') }} as units,
        {{ exact_sum('case when is_first then units else 0 end') }} as first_units,
        {{ exact_sum('case when is_first then 0 else units * week_rate end') }} as repeat_units
    from sales
    group by cutoff_at, past_end_day, is_coming, product_id, weeks_ago
),

-- A short log has fewer than four full weeks.
counted as (
    select
        by_week.*,
        greatest(1, least(4, floor((by_week.past_end_day - first_orders.first_day) / 7)))
            as recent_weeks
    from by_week
    cross join first_orders
),

final as (
    select
        cutoff_at,
        is_coming,
        product_id,
        case when not is_coming then sum(case when weeks_ago = 0 then units else 0 end) end
            as sold_units,
        sum(case when weeks_ago between 1 and recent_weeks then units else 0 end)
        / recent_weeks as naive_units,
        -- The straight line through the last four weeks, one week on.
        sum(
            case weeks_ago when 1 then units when 2 then units / 2 when 4 then -units / 2 else 0 end
        ) as trend_units,
        sum(case when weeks_ago between 1 and recent_weeks then first_units else 0 end)
        / recent_weeks as first_time_units,
        sum(case when weeks_ago > 0 then repeat_units else 0 end) as repeat_units
    from counted
    group by cutoff_at, is_coming, product_id, recent_weeks
)

select * from final
order by cutoff_at, product_id
