select
    file_name,
    table_name,
    cast(row_count as integer) as row_count,
    -- The intake stops at a row that it cannot accept.
    0 as rejected_count
from {{ source('ml', 'raw_files') }}
