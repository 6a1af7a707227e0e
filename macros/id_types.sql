{#-
    IDs are whole numbers in one retailer's export and text in another's. The contracts use the
    types user_id_type, order_id_type and product_id_type; this macro creates them as aliases of the
    types in the landed data. An engine without type aliases needs its own types in the contracts.
-#}
{% macro declare_id_types() %}
    {%- if execute -%}
        {%- set types = ['bigint', 'bigint', 'bigint'] -%}
        {%- if env_var('RESTOCK_SOURCE', 'complete_journey') != 'instacart' -%}
            {%- set landed -%}
                select typeof(min(user_id)), typeof(min(order_id)), typeof(min(product_id))
                from {{ source('order_log', 'order_lines') }}
            {%- endset -%}
            {%- set types = run_query(landed).rows[0].values() -%}
        {%- endif -%}
        {%- for id in ['user_id', 'order_id', 'product_id'] %}
            drop type if exists {{ id }}_type;
            create type {{ id }}_type as {{ types[loop.index0] }};
        {%- endfor -%}
    {%- endif -%}
{% endmacro %}
