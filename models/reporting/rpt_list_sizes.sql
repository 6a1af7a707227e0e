-- How many shoppers a list needs to be expected to hold a share of the buyers: for the newest list,
-- and for the lists that the same rule cuts on each test day. A shopper is on a list unless the
-- likelier shoppers already fill it.
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

shoppers as (
    select
        'now' as part,
        lists.cutoff_at,
        lists.user_id,
        lists.purchase_probability,
        case when lists.is_held_out then 1 else 0 end as held_out,
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
        {{ exact_sum('purchase_probability', bits=35, over='over (
            partition by part, cutoff_at
            order by purchase_probability desc, user_id
            rows between unbounded preceding and 1 preceding
        )') }} as likelier,
        {{ exact_sum('purchase_probability', bits=35, over='over (
            partition by part, cutoff_at
        )') }} as everyone
    from shoppers
),

-- The smallest list that a shopper is on, in percent of the buyers. Rounding must not add one.
placed as (
    select
        *,
        least(floor(100 * coalesce(likelier, 0) / everyone + 1e-9) + 1, 100) as first_percent
    from filled
),

steps as (
    select
        part,
        cutoff_at,
        first_percent,
        count(*) as listed,
        sum(held_out) as held_out,
        sum(bought) as bought,
        {{ exact_sum('purchase_probability', bits=35) }} as expected,
        min(purchase_probability) as lowest
    from placed
    group by part, cutoff_at, first_percent
),

numbers (number) as (
    {{ numbers_to(50) }}
),

percents as (
    select 50 + number as percent from numbers
),

cut_lists as (
    select
        percents.percent,
        steps.part,
        steps.cutoff_at,
        cast(sum(steps.listed) as double) as listed,
        sum(steps.held_out) as held_out,
        cast(sum(steps.bought) as double) as bought,
        sum(steps.expected) as expected,
        min(steps.lowest) as lowest
    from percents
    inner join steps on percents.percent >= steps.first_percent
    group by percents.percent, steps.part, steps.cutoff_at
),

-- The list of 100% has everyone.
of_all as (
    select
        *,
        max(listed) over (partition by part, cutoff_at) as shoppers,
        max(bought) over (partition by part, cutoff_at) as buyers
    from cut_lists
),

newest as (
    select * from of_all
    where part = 'now'
),

tested as (
    select
        percent,
        sum(listed) / sum(shoppers) as list_share,
        sum(bought) / nullif(sum(buyers), 0) as recall_share,
        min(bought / nullif(buyers, 0)) as worst_day_recall_share,
        sum(bought) / sum(listed) as precision_share
    from of_all
    where part = 'test'
    group by percent
),

final as (
    select
        cast(newest.percent as double) / 100 as recall_share,
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
