-- A view, because the audit runs after this model is built.
with

findings as (
    select * from {{ source('ml', 'audit') }}
),

newest as (
    select max(run_id) as run_id from findings
),

ranked as (
    select
        findings.*,
        row_number() over (
            partition by findings.check_name
            order by
                case findings.status when 'fail' then 1 when 'warn' then 2 else 3 end,
                findings.value desc
        ) as place
    from findings
    inner join newest on findings.run_id = newest.run_id
),

final as (
    select
        run_id,
        check_name,
        max(case when place = 1 then status end) as status,
        cast(count(*) as integer) as finding_count,
        cast(sum(case when status = 'pass' then 0 else 1 end) as integer) as not_passed_count,
        max(case when place = 1 then subject end) as worst_subject,
        max(case when place = 1 then value end) as worst_value,
        max(threshold) as threshold
    from ranked
    group by run_id, check_name
)

select * from final
