{#-
    A key is unique and, except for the `nullable` columns, never null. On a column, that column is
    the key; on a model, `columns` is. The test returns the keys that are not. It takes one query,
    where `unique` and a `not_null` for each column would take as many passes over the table.
-#}
{% test unique_key(model, column_name=none, columns=none, nullable=[]) %}
{%- set key = columns or [column_name] %}
select {{ key | join(', ') }}, count(*) as occurrences
from {{ model }}
group by {{ key | join(', ') }}
having
    count(*) > 1
    {%- for column in key if column not in nullable %}
    or {{ column }} is null
    {%- endfor %}
{% endtest %}
