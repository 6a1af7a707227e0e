{#- What the error of a forecast is in proportion to. Up to 100 units, that is the square root of the
    forecast. Beyond, it is the forecast itself, because all shoppers share what moves a large count,
    such as a holiday. -#}
{% macro error_scale(units) -%}
    greatest(sqrt({{ units }}), {{ units }} / 10)
{%- endmacro %}
