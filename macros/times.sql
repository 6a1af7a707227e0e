{#- Hours from a time to the midnight at the start of a later day, with fractions. -#}
{% macro hours_before(day, at) -%}
    24 * cast({{ day }} - cast({{ at }} as date) as integer) - extract(hour from {{ at }})
    - extract(minute from {{ at }}) / 60.0 - extract(second from {{ at }}) / 3600.0
{%- endmacro %}

{#- Sum over the past days of a moment that are at most some days ago. -#}
{% macro in_last_days(column, days) -%}
    cast(sum(case when days_ago <= {{ days }} then {{ column }} else 0 end) as integer)
{%- endmacro %}

{#- The whole numbers from 0 to n, as rows of one column. -#}
{% macro numbers_to(n) -%}
    values {% for number in range(n + 1) %}({{ number }}){{ ', ' if not loop.last }}{% endfor %}
{%- endmacro %}
