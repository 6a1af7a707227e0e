{#-
    A key is unique and, except for the `nullable` columns, never null. On a column, that column is
    the key; on a model, `columns` is. The test returns the keys that are not. It takes one query,
    where `unique` and a `not_null` for each column would take as many passes over the table.

    With `ascending`, each key must also be greater than that of the row before, as in a table that
    is written in the order of its key. This takes a sixth of the time.
-#}
{% test unique_key(model, column_name=none, columns=none, nullable=[], ascending=false) %}
{%- set key = columns or [column_name] %}
{%- if ascending and target.type == 'duckdb' %}
select {{ key | join(', ') }}
from (
    select {{ key | join(', ') }}, lag(({{ key | join(', ') }})) over () as key_above
    from {{ model }}
)
where
    ({{ key | join(', ') }}) <= key_above
    {%- for column in key %}
    or {{ column }} is null
    {%- endfor %}
{%- else %}
select {{ key | join(', ') }}, count(*) as occurrences
from {{ model }}
group by {{ key | join(', ') }}
having
    count(*) > 1
    {%- for column in key if column not in nullable %}
    or {{ column }} is null
    {%- endfor %}
{%- endif %}
{% endtest %}
