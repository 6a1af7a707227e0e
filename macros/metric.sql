{#- One figure from the long table of metrics, in a query that groups by what it is about. -#}
{% macro metric(name) -%}
    max(case when metrics.metric = '{{ name }}' then metrics.value end)
{%- endmacro %}
