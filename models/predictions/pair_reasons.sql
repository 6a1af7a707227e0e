-- Why a shopper may want a product now, in words that a shopper would use. The first reason that
-- applies counts, and every reason speaks for the product. Days count only if the source has dates:
-- Instacart cuts gaps off at 30 days.
with

predictions as (
    select * from {{ ref('fct_predictions') }}
    where in_basket or rank_in_user <= {{ var('recommended_products') }}
),

pairs as (
    select * from {{ ref('pair_totals') }}
    where cutoff = 0
),

users as (
    select * from {{ ref('feat_users') }}
    where cutoff = 0
),

calendar as (
    select count(ordered_at) > 0 as has_dates from {{ ref('fct_orders') }}
),

facts as (
    select
        predictions.*,
        pairs.purchases,
        pairs.in_last_5 as recent_count,
        least(users.user_order_count, 5) as recent_orders,
        pairs.orders_since_last as orders_ago,
        cast(round(pairs.gap_median_orders) as integer) as gap_orders,
        case when calendar.has_dates then pairs.days_since_last end as days_ago,
        cast(round(pairs.gap_median_days) as integer) as gap_days
    from predictions
    inner join pairs
        on
            predictions.user_id = pairs.user_id
            and predictions.product_id = pairs.product_id
    inner join users on predictions.user_id = users.user_id
    cross join calendar
),

-- After twice the usual gap, a product is not due but given up.
rhythms as (
    select
        *,
        coalesce(gap_days >= 1 and days_ago between gap_days and 2 * gap_days, false)
            as is_due_by_days,
        coalesce(gap_orders >= 2 and orders_ago between gap_orders and 2 * gap_orders, false)
            as is_due_by_orders
    from facts
),

final as (
    select
        user_id,
        product_id,
        batch_id,
        reorder_probability,
        rank_in_user,
        in_basket,
        is_due_by_days or is_due_by_orders as is_due,
        case
            when is_due_by_days
                then concat(
                    case
                        when gap_days = 1 then 'due: every day'
                        else concat('due: every ', gap_days, ' days')
                    end,
                    case
                        when days_ago = 1 then ', last bought yesterday'
                        else concat(', last bought ', days_ago, ' days ago')
                    end
                )
            when is_due_by_orders
                then concat(
                    'due: every ', gap_orders, ' orders, last bought ', orders_ago, ' orders ago'
                )
            when recent_count >= 2
                then concat('in ', recent_count, ' of the last ', recent_orders, ' orders')
            when recent_orders = 1 then 'in the only order so far'
            when orders_ago = 1 then 'in the last order'
            when recent_count = 1 and purchases > 1
                then concat('bought ', purchases, ' times, last ', orders_ago, ' orders ago')
            when recent_count = 1 then concat('bought ', orders_ago, ' orders ago')
            when purchases > 1 then concat('bought ', purchases, ' times before')
            else 'bought before'
        end as reason
    from rhythms
)

select * from final
order by user_id, rank_in_user
