{#-
    Cutoff 0 from the environment: a date (RESTOCK_AS_OF), or a number of days after each shopper's
    last order (RESTOCK_AS_OF_DAYS). Null if the variable is not set. With the var as_of_parameters,
    they are parameters of the compiled SQL instead (ml/warehouse/feature_sql.py).
-#}
{% macro as_of_date() -%}
    {%- set date = env_var('RESTOCK_AS_OF', '') -%}
    {%- if var('as_of_parameters', false) is true -%}
        cast($as_of as date)
    {%- else -%}
        {{ "cast('" ~ date ~ "' as date)" if date else 'cast(null as date)' }}
    {%- endif -%}
{%- endmacro %}

{% macro as_of_days() -%}
    {%- if var('as_of_parameters', false) is true -%}
        cast($as_of_days as integer)
    {%- else -%}
        cast({{ env_var('RESTOCK_AS_OF_DAYS', '') or 'null' }} as integer)
    {%- endif -%}
{%- endmacro %}
