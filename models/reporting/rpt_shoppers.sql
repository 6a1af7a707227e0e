-- Three lists and a sample of each segment, drawn by a hash: the same in every run. A shopper who
-- is drifting away or lost is on neither of the other lists, and a robot is on none.
with

shoppers as (
    select * from {{ ref('fct_shoppers') }}
),

weeks as (
    select * from {{ ref('fct_weekly_propensity') }}
),

robots as (
    select * from {{ ref('moments') }}
    where cutoff = 0 and is_robot
),

listed as (
    select
        shoppers.*,
        weeks.purchase_probability as week_probability,
        robots.user_id is not null as is_robot
    from shoppers
    left join weeks on shoppers.user_id = weeks.user_id
    left join robots on shoppers.user_id = robots.user_id
),

marked as (
    select
        *,
        is_drifting and not is_robot as is_on_drifting,
        not is_drifting and segment <> 'lost' and not is_robot as is_on_largest,
        not is_drifting and segment <> 'lost' and not is_robot
        and coalesce(week_probability, 0) > 0.5 as is_on_likely
    from listed
),

ranked as (
    select
        *,
        row_number() over (
            partition by is_on_likely
            order by week_probability desc, expected_units desc, user_id asc
        ) as likely_place,
        row_number() over (
            partition by is_on_largest
            order by expected_units desc, user_id asc
        ) as largest_place,
        row_number() over (
            partition by is_on_drifting
            order by coalesce(weekly_spend, 0) desc, weekly_items desc, user_id asc
        ) as drifting_place,
        row_number() over (
            partition by segment
            order by basket_item_count > 0 desc, md5(cast(user_id as varchar)), user_id
        ) as sample_rank
    from marked
),

final as (
    select
        user_id,
        segment,
        order_count,
        pair_count,
        basket_item_count,
        wait_days,
        last_gap_days,
        usual_gap_days,
        next_order_on,
        overdue_days,
        basket_mean_count,
        weekly_items,
        weekly_spend,
        expected_units,
        week_probability as week_probability_share,
        cast(case when is_on_likely then likely_place end as integer) as likely_rank,
        cast(case when is_on_largest then largest_place end as integer) as units_rank,
        cast(case when is_on_drifting then drifting_place end as integer) as drifting_rank,
        cast(sample_rank as integer) as sample_rank
    from ranked
)

select * from final
order by user_id
