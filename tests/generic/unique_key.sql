{#-
    A key: of one column where it stands at the column, of several as `columns`, none of them null but
    the `nullable` ones. A returned row occurs more often, or is not known. One query, where `unique`
    and a `not_null` for each column would be as many passes over the table.
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
