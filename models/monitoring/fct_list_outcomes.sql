select * from {{ source('ml', 'purchase_outcomes') }}
