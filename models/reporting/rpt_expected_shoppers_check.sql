-- Coverage of the intervals, over all products, aisles and departments.
with

intervals as (
    select
        *,
        case
            when test_bought_units between test_low_units and test_high_units then 1 else 0
        end as is_within,
        abs(test_bought_units - test_expected_units) as error_units
    from {{ ref('demand_intervals') }}
    where test_pair_count > 0
),

final as (
    select
        level,
        cast(count(*) as integer) as name_count,
        cast(sum(test_pair_count) as integer) as pair_count,
        cast({{ exact_sum('test_expected_units') }} as double) as expected_shoppers,
        cast(sum(test_bought_units) as integer) as bought_shoppers,
        sum(is_within) / cast(count(*) as double) as within_share,
        cast({{ exact_sum('error_units') }} as double) / nullif(sum(test_bought_units), 0)
            as error_share
    from intervals
    group by level
)

select * from final
