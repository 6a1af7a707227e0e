with

files as (
    select * from {{ source('ml', 'raw_files') }}
),

left_out as (
    select
        file_name,
        sum(line_count) as line_count
    from {{ source('ml', 'left_out') }}
    group by file_name
),

final as (
    select
        files.file_name,
        files.table_name,
        cast(files.row_count as integer) as row_count,
        cast(coalesce(left_out.line_count, 0) as integer) as rejected_count
    from files
    left join left_out on files.file_name = left_out.file_name
)

select * from final
