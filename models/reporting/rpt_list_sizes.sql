-- How many shoppers a list needs to be expected to hold a share of the buyers: for the newest list,
-- and for the lists that the same rule percents on each test day. A shopper is on every list but those
-- that the likelier shoppers already fill.
with

published as (
    select max(batch_id) as batch_id from {{ ref('fct_purchase_propensity') }}
),

lists as (
    select * from {{ source('ml', 'purchase_lists') }}
),

tested_days as (
    select * from {{ ref('fct_test_purchases') }}
),

now_and_tested as (
    select
        'now' as part,
        cutoff_at,
        user_id,
        purchase_probability,
        case when is_held_out then 1 else 0 end as held_out,
        null as bought
    from lists
    inner join published on lists.batch_id = published.batch_id
    union all
    select
        'test' as part,
        cutoff_at,
        cast(user_id as varchar) as user_id,
        purchase_probability,
        0 as held_out,
        case when is_buyer then 1 else 0 end as bought
    from tested_days
),

filled as (
    select
        *,
        coalesce({{ exact_sum(
            'purchase_probability', bits=35, over='over (
                partition by part, cutoff_at
                order by purchase_probability desc, user_id
                rows between unbounded preceding and 1 preceding
            )'
        ) }}, 0)
        / nullif(
            {{ exact_sum(
                'purchase_probability', bits=35, over='over (partition by part, cutoff_at)'
            ) }}, 0
        ) as filled_share
    from now_and_tested
),

-- The percent of the smallest list that the shopper is on. Rounding must not add a shopper.
steps as (
    select
        part,
        cutoff_at,
        cast(least(floor(100 * filled_share + 1e-9) + 1, 100) as integer) as first_percent,
        count(*) as listed,
        sum(held_out) as held_out,
        sum(bought) as bought,
        {{ exact_sum('purchase_probability', bits=35) }} as expected,
        min(purchase_probability) as lowest
    from filled
    group by part, cutoff_at, cast(least(floor(100 * filled_share + 1e-9) + 1, 100) as integer)
),

numbers (number) as (
    {{ numbers_to(50) }}
),

percents as (
    select cast(50 + number as integer) as percent from numbers
),

cut_lists as (
    select
        percents.percent,
        steps.part,
        steps.cutoff_at,
        cast(sum(case when steps.first_percent <= percents.percent then steps.listed else 0 end) as double)
            as listed,
        sum(case when steps.first_percent <= percents.percent then steps.held_out else 0 end) as held_out,
        cast(sum(case when steps.first_percent <= percents.percent then steps.bought else 0 end) as double)
            as listed_buyers,
        sum(case when steps.first_percent <= percents.percent then steps.expected else 0 end) as expected,
        min(case when steps.first_percent <= percents.percent then steps.lowest end) as lowest,
        sum(steps.listed) as shoppers,
        cast(sum(steps.bought) as double) as buyers
    from steps
    cross join percents
    group by percents.percent, steps.part, steps.cutoff_at
),

newest as (
    select * from cut_lists
    where part = 'now'
),

tested as (
    select
        percent,
        sum(listed) / sum(shoppers) as list_share,
        sum(listed_buyers) / nullif(sum(buyers), 0) as recall_share,
        min(listed_buyers / nullif(buyers, 0)) as worst_day_recall_share,
        sum(listed_buyers) / nullif(sum(listed), 0) as precision_share
    from cut_lists
    where part = 'test'
    group by percent
),

final as (
    select
        newest.percent / 100.0 as recall_share,
        cast(newest.listed as integer) as list_count,
        newest.listed / newest.shoppers as list_share,
        cast(newest.held_out as integer) as held_out_count,
        newest.expected as expected_buyers,
        newest.expected / newest.listed as precision_share,
        cast(newest.lowest as double) as lowest_probability_share,
        tested.list_share as test_list_share,
        tested.recall_share as test_recall_share,
        tested.worst_day_recall_share as test_worst_day_recall_share,
        tested.precision_share as test_precision_share
    from newest
    left join tested on newest.percent = tested.percent
)

select * from final
order by recall_share
