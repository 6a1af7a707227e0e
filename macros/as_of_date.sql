{#- The date that cutoff 0 stands on, where one was asked for (RESTOCK_AS_OF); else null. -#}
{% macro as_of_date() -%}
    {%- set date = env_var('RESTOCK_AS_OF', '') -%}
    {{ "cast('" ~ date ~ "' as date)" if date else 'cast(null as date)' }}
{%- endmacro %}
