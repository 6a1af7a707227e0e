with

promotions as (
    select * from {{ staged('promotions') }}
)

select * from promotions
order by product_id, starts_on, ends_on, kind
