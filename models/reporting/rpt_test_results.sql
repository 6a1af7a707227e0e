-- A view, because tests finish after all tables are built.
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
