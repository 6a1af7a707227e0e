-- For the sampled shoppers of each segment: products that they have never bought.
with

shoppers as (
    select * from {{ ref('rpt_shoppers') }}
    where sample_rank <= 5
),

discoveries as (
    select * from {{ ref('fct_discoveries') }}
),

products as (
    select * from {{ ref('dim_products') }}
),

final as (
    select
        discoveries.user_id,
        discoveries.product_id,
        products.product_name,
        products.aisle,
        discoveries.rank_in_user,
        discoveries.purchase_probability as probability_share
    from discoveries
    inner join shoppers on discoveries.user_id = shoppers.user_id
    inner join products on discoveries.product_id = products.product_id
)

select * from final
order by user_id, rank_in_user
