{#-
    A quantile of the values in a group by the nearest rank: the smallest value with at least this
    share of the values at or below it. Null if the group has none. `place` is the row number of a
    value in its group, nulls last, and `count` is the number of values.
-#}
{% macro nearest_rank(value, place, count, share) -%}
    min(case when {{ place }} >= {{ share }} * {{ count }} then {{ value }} end)
{%- endmacro %}
