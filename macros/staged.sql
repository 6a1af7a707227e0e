{#-
    The staging model of the selected source: staged('orders') is stg_instacart__orders or
    stg_order_log__orders.
-#}
{% macro staged(entity) %}
    {%- set source = env_var('RESTOCK_SOURCE', 'complete_journey') -%}
    {%- if source not in ('complete_journey', 'instacart', 'order_log') -%}
        {{ exceptions.raise_compiler_error(
            "RESTOCK_SOURCE is '" ~ source ~ "'. Choose complete_journey, instacart or order_log."
        ) }}
    {%- endif -%}
    {{- return(ref('stg_' ~ ('instacart' if source == 'instacart' else 'order_log') ~ '__' ~ entity)) -}}
{% endmacro %}
