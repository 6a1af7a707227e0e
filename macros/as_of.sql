{#-
    Cutoff 0 from the environment: a date (RESTOCK_AS_OF), or a number of days after each shopper's
    last order (RESTOCK_AS_OF_DAYS). Null if the variable is not set.
-#}
{% macro as_of_date() -%}
    {%- set date = env_var('RESTOCK_AS_OF', '') -%}
    {{ "cast('" ~ date ~ "' as date)" if date else 'cast(null as date)' }}
{%- endmacro %}

{% macro as_of_days() -%}
    cast({{ env_var('RESTOCK_AS_OF_DAYS', '') or 'null' }} as integer)
{%- endmacro %}
