select
    position,
    note
from {{ source('ml', 'notes') }}
