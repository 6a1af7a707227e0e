-- A view: the tests of the scores end after every table is built.
with

results as (
    select * from {{ source('ml', 'test_results') }}
),

final as (
    select
        test_name,
        model_name,
        status,
        failures as failure_count,
        seconds,
        finished_at
    from results
)

select * from final
