{#- A figure out of the long table of metrics, in a query that groups by what the figure is about. -#}
{% macro metric(name) -%}
    max(case when metrics.metric = '{{ name }}' then metrics.value end)
{%- endmacro %}
