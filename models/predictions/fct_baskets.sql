-- Explains each product with the values of its features, in words that a shopper would use.
with

predictions as (
    select * from {{ ref('fct_predictions') }}
    where in_basket
),

pairs as (
    select * from {{ ref('pair_totals') }}
    where cutoff = 0
),

users as (
    select * from {{ ref('feat_users') }}
    where cutoff = 0
),

facts as (
    select
        predictions.*,
        pairs.in_last_5 as recent_count,
        least(users.user_order_count, 5) as recent_orders,
        cast(round(pairs.gap_median_days) as integer) as gap_days,
        pairs.days_since_last as days_ago
    from predictions
    inner join pairs
        on
            predictions.user_id = pairs.user_id
            and predictions.product_id = pairs.product_id
    inner join users on predictions.user_id = users.user_id
),

final as (
    select
        user_id,
        product_id,
        batch_id,
        concat(
            case
                when recent_orders = 1 then 'in the only order'
                when recent_count = 0 then concat('in none of the last ', recent_orders, ' orders')
                else concat(recent_count, ' of the last ', recent_orders, ' orders')
            end,
            case
                when gap_days is null then ''
                when gap_days = 0 then '; often twice a day'
                when gap_days = 1 then '; every day'
                else concat('; every ', gap_days, ' days')
            end,
            case
                when days_ago is null then ''
                when days_ago = 0 then '; last bought today'
                when days_ago = 1 then '; last bought yesterday'
                else concat('; last bought ', days_ago, ' days ago')
            end
        ) as reason,
        reorder_probability,
        rank_in_user as basket_position
    from facts
)

select * from final
order by user_id, basket_position
