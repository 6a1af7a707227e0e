with

promotions as (
    select * from {{ staged('promotions') }}
),

final as (
    select
        product_id,
        kind,
        starts_on,
        ends_on,
        cast(count(*) as integer) as promotion_count
    from promotions
    group by product_id, kind, starts_on, ends_on
)

select * from final
order by product_id, starts_on, ends_on, kind
