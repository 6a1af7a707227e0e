-- For the sampled shoppers of each segment: their ten likeliest products and the first 50 of their
-- predicted basket, with reasons. A basket holds the likeliest products of its shopper.
with

shoppers as (
    select * from {{ ref('rpt_shoppers') }}
    where sample_rank <= 5
),

predictions as (
    select * from {{ ref('fct_predictions') }}
),

baskets as (
    select * from {{ ref('fct_baskets') }}
),

products as (
    select * from {{ ref('dim_products') }}
),

final as (
    select
        predictions.user_id,
        predictions.product_id,
        products.product_name,
        products.aisle,
        predictions.rank_in_user,
        predictions.reorder_probability as probability_share,
        predictions.in_basket,
        baskets.reason
    from predictions
    inner join shoppers on predictions.user_id = shoppers.user_id
    inner join products on predictions.product_id = products.product_id
    left join baskets
        on
            predictions.user_id = baskets.user_id
            and predictions.product_id = baskets.product_id
    where
        predictions.rank_in_user <= 10
        or (predictions.in_basket and predictions.rank_in_user <= 50)
)

select * from final
order by user_id, rank_in_user
