-- The only model that decides which promotions are known: those that run on the day of a target. A
-- promotion that starts later does not count, even if it was announced before.
{{ config(materialized='view') }}

with

promotions as (
    select * from {{ ref('fct_promotions') }}
),

targets as (
    select * from {{ ref('targets') }}
),

days as (
    select distinct ordered_on as day from targets
),

final as (
    select
        days.day,
        promotions.product_id,
        cast(sum(promotions.promotion_count) as integer) as promotion_count,
        cast(
            sum(case when promotions.kind = 'mailer' then promotions.promotion_count else 0 end)
            as integer
        ) as mailer_count,
        cast(
            sum(case when promotions.kind = 'display' then promotions.promotion_count else 0 end)
            as integer
        ) as display_count
    from promotions
    inner join days
        on promotions.starts_on <= days.day and promotions.ends_on >= days.day
    group by days.day, promotions.product_id
)

select * from final
