select
    file_name,
    reason,
    cast(line_count as bigint) as line_count
from {{ source('ml', 'left_out') }}
