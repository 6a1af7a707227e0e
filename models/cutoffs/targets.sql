-- The order to predict, for each cutoff and shopper. Cutoff 0 is now; cutoff 1 is just before the
-- shopper's last order with known products, cutoff 2 just before the order before that. A target
-- has only what is known when the order is predicted, never its products.
with

orders as (
    select * from {{ ref('fct_orders') }}
),

known_orders as (
    select
        *,
        row_number() over (partition by user_id order by order_number desc) as orders_from_last
    from orders
    where not is_open
),

open_orders as (
    select * from orders
    where is_open
),

last_orders as (
    select * from known_orders
    where orders_from_last = 1
),

calendar as (
    select
        cast(coalesce(
            {{ as_of_date() }},
            cast(max(ordered_at) as date) + 1
        ) as date) as as_of_date,
        {{ as_of_days() }} as as_of_days
    from known_orders
),

-- The shopper's most frequent weekday and hour (the earlier one in a tie) and median gap. A shopper
-- with one order gets the usual gap of all shoppers.
dow_counts as (
    select
        user_id,
        order_dow,
        row_number() over (partition by user_id order by count(*) desc, order_dow) as place
    from known_orders
    group by user_id, order_dow
),

hour_counts as (
    select
        user_id,
        order_hour,
        row_number() over (partition by user_id order by count(*) desc, order_hour) as place
    from known_orders
    group by user_id, order_hour
),

gaps as (
    select
        user_id,
        cast(round(median(days_since_prior_order)) as integer) as days
    from known_orders
    group by user_id
),

usual_gap as (
    select * from {{ ref('usual_gap') }}
),

usual as (
    select
        gaps.user_id,
        dow_counts.order_dow,
        hour_counts.order_hour,
        coalesce(gaps.days, usual_gap.days) as days
    from gaps
    inner join dow_counts on gaps.user_id = dow_counts.user_id and dow_counts.place = 1
    inner join hour_counts on gaps.user_id = hour_counts.user_id and hour_counts.place = 1
    cross join usual_gap
),

next_orders as (
    select
        0 as cutoff,
        last_orders.user_id,
        open_orders.order_id,
        coalesce(open_orders.order_number, last_orders.order_number + 1) as order_number,
        case
            when calendar.as_of_days is not null
                then (last_orders.order_dow + calendar.as_of_days) % 7
            when open_orders.order_id is not null then open_orders.order_dow
            when calendar.as_of_date is not null
                then cast(extract(dow from calendar.as_of_date) as integer)
            else usual.order_dow
        end as order_dow,
        case
            when calendar.as_of_days is null and open_orders.order_id is not null
                then open_orders.order_hour
            else usual.order_hour
        end as order_hour,
        case
            when calendar.as_of_days is not null then calendar.as_of_days
            when open_orders.order_id is not null then open_orders.days_since_prior_order
            when calendar.as_of_date is not null
                then cast(calendar.as_of_date - cast(last_orders.ordered_at as date) as integer)
            else usual.days
        end as days_since_prior_order,
        last_orders.order_day as prior_order_day,
        cast(last_orders.ordered_at as date) as prior_ordered_on,
        case
            when calendar.as_of_days is not null then 'as_of'
            when open_orders.order_id is not null then 'open'
            when calendar.as_of_date is not null then 'as_of'
            else 'typical'
        end as context_source
    from last_orders
    inner join usual on last_orders.user_id = usual.user_id
    left join open_orders on last_orders.user_id = open_orders.user_id
    cross join calendar
),

-- The shoppers that a model learns from and is evaluated on, drawn by a hash of the ID. The draw
-- uses the end of the hash: the split uses its start, and must stay independent of the draw.
learning_shoppers as (
    select
        user_id,
        {{ split_of('user_id') }} as split,
        row_number() over (
            order by substr(md5(cast(user_id as varchar)), 17), user_id
        ) as place
    from last_orders
    where order_number > {{ var('min_past_orders') }}
),

past_targets as (
    select
        cast(orders_from_last as integer) as cutoff,
        user_id,
        order_id,
        order_number,
        order_dow,
        order_hour,
        days_since_prior_order,
        order_day - days_since_prior_order as prior_order_day,
        cast(ordered_at as date) - days_since_prior_order as prior_ordered_on,
        'order' as context_source
    from known_orders
    where
        orders_from_last <= {{ var('label_cutoffs') }}
        and order_number > {{ var('min_past_orders') }}
        and user_id in (
            select learning_shoppers.user_id from learning_shoppers
            where
                learning_shoppers.place <= {{ var('learning_shoppers') }}
                -- Training shoppers beyond the first half cost more time than they teach.
                and (
                    learning_shoppers.split <> 'train'
                    or 2 * learning_shoppers.place <= {{ var('learning_shoppers') }}
                )
        )
),

targets as (
    select * from next_orders
    union all
    select * from past_targets
),

final as (
    select
        cutoff,
        user_id,
        order_id,
        -- By shopper, not by row.
        {{ split_of('user_id') }} as split,
        context_source,
        order_number,
        prior_order_day + days_since_prior_order as order_day,
        cast(prior_ordered_on + days_since_prior_order as date) as ordered_on,
        order_dow,
        order_hour,
        days_since_prior_order
    from targets
)

select * from final
order by cutoff, user_id
