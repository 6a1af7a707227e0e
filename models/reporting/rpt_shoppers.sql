-- The first shoppers of two rankings, and a sample of each segment. The hash draws the same sample
-- in every run.
with

shoppers as (
    select
        *,
        basket_mean_count * 7 / greatest(usual_gap_days, 1) as weekly_items,
        -- A shopper with few orders is not regular yet, and so cannot drift away.
        segment in ('lapsing', 'slowing') and order_count >= {{ var('regular_orders') }}
            as is_drifting
    from {{ ref('fct_shoppers') }}
),

ranked as (
    select
        *,
        row_number() over (order by expected_units desc, user_id asc) as units_rank,
        case
            when is_drifting
                then row_number() over (order by is_drifting desc, weekly_items desc, user_id asc)
        end as drifting_rank,
        row_number() over (
            partition by segment
            order by basket_item_count > 0 desc, md5(cast(user_id as varchar)), user_id
        ) as sample_rank
    from shoppers
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
        basket_mean_count,
        weekly_items,
        expected_units,
        cast(units_rank as integer) as units_rank,
        cast(drifting_rank as integer) as drifting_rank,
        cast(sample_rank as integer) as sample_rank
    from ranked
    where units_rank <= 50 or drifting_rank <= 50 or sample_rank <= 5
)

select * from final
order by units_rank
