-- The shoppers at the head of two lists, and a few of each segment to look at. The hash picks the
-- same few in every run.
with

shoppers as (
    select
        *,
        case
            when segment in ('lapsing', 'slowing') then basket_mean_count * (late_ratio - 1)
        end as missed_items
    from {{ ref('fct_shoppers') }}
),

ranked as (
    select
        *,
        row_number() over (order by expected_units desc, user_id) as units_rank,
        case
            when missed_items is not null
                then row_number() over (order by coalesce(missed_items, 0) desc, user_id)
        end as drifting_rank,
        row_number() over (
            partition by segment order by md5(cast(user_id as varchar)), user_id
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
        late_ratio,
        basket_mean_count,
        missed_items,
        expected_units,
        cast(units_rank as integer) as units_rank,
        cast(drifting_rank as integer) as drifting_rank,
        cast(sample_rank as integer) as sample_rank
    from ranked
    where units_rank <= 50 or drifting_rank <= 50 or sample_rank <= 5
)

select * from final
order by units_rank
