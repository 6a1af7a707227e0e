-- For the sampled shoppers of each segment: their recommended products and the first 50 of their
-- predicted basket, with reasons. A basket holds the likeliest products of its shopper.
with

shoppers as (
    select * from {{ ref('rpt_shoppers') }}
    where sample_rank <= 5
),

reasons as (
    select * from {{ ref('pair_reasons') }}
    where rank_in_user <= 50
),

products as (
    select * from {{ ref('dim_products') }}
),

final as (
    select
        reasons.user_id,
        reasons.product_id,
        products.product_name,
        products.aisle,
        reasons.rank_in_user,
        reasons.reorder_probability as probability_share,
        reasons.in_basket,
        reasons.reason
    from reasons
    inner join shoppers on reasons.user_id = shoppers.user_id
    inner join products on reasons.product_id = products.product_id
)

select * from final
order by user_id, rank_in_user
