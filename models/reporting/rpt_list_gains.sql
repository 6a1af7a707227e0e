-- What a list earns if a message costs a share of what a purchase earns, and everyone whose
-- probability is above that share gets one. It takes every purchase as caused by its message.
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

costs (cost_share) as (
    values (0.01), (0.02), (0.05), (0.1), (0.15), (0.2), (0.3), (0.5)
),

shoppers as (
    select
        'now' as part,
        cast(lists.purchase_probability as double) as probability,
        null as bought
    from lists
    inner join published on lists.batch_id = published.batch_id
    union all
    select
        'test' as part,
        cast(purchase_probability as double) as probability,
        case when is_buyer then 1 else 0 end as bought
    from tested_days
),

listed as (
    select
        cast(costs.cost_share as double) as cost_share,
        shoppers.*,
        case when shoppers.probability > costs.cost_share then 1 else 0 end as on_list
    from shoppers
    cross join costs
),

totals as (
    select
        cost_share,
        part,
        count(*) as shoppers,
        sum(on_list) as listed,
        {{ exact_sum('on_list * probability', bits=35) }} as expected,
        {{ exact_sum('probability', bits=35) }} as expected_of_all,
        sum(on_list * bought) as bought,
        sum(bought) as bought_of_all
    from listed
    group by cost_share, part
),

newest as (
    select * from totals
    where part = 'now'
),

tested as (
    select * from totals
    where part = 'test'
),

final as (
    select
        newest.cost_share,
        cast(newest.listed as integer) as list_count,
        cast(newest.listed as double) / newest.shoppers as list_share,
        newest.expected as expected_buyers,
        1000 * (newest.expected - newest.cost_share * newest.listed) / newest.shoppers
            as gain_per_1000,
        1000 * (newest.expected_of_all / newest.shoppers - newest.cost_share)
            as everyone_gain_per_1000,
        1000 * (tested.bought - tested.cost_share * tested.listed) / tested.shoppers
            as test_gain_per_1000,
        1000 * (cast(tested.bought_of_all as double) / tested.shoppers - tested.cost_share)
            as test_everyone_gain_per_1000
    from newest
    left join tested on newest.cost_share = tested.cost_share
)

select * from final
order by cost_share
