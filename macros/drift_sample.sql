{#- Names of the columns that are features of a model of examples, from its contract. -#}
{% macro features_of(model) %}
    {%- set names = [] -%}
    {%- if execute -%}
        {%- for node in graph.nodes.values() if node.name == model -%}
            {%- for name, column in node.columns.items() if column.config.meta.feature -%}
                {%- do names.append(name) -%}
            {%- endfor -%}
        {%- endfor -%}
    {%- endif -%}
    {{- return(names) -}}
{% endmacro %}

{#-
    True for a share of the rows, which a hash of whole-number or text columns draws. DuckDB applies
    it while it scans a table. MD5 would take several times as long as all the rest.
-#}
{% macro is_drawn(columns, share) -%}
    {{- adapter.dispatch('is_drawn')(columns, share) -}}
{%- endmacro %}

{% macro default__is_drawn(columns, share) -%}
    md5(concat({{ columns | join(", '-', ") }})) < '{{ '%08x' | format((share * 2 ** 32) | int) }}'
{%- endmacro %}

{% macro duckdb__is_drawn(columns, share) -%}
    hash({{ columns | join(', ') }}) < {{ (share * 2 ** 64) | int }}
{%- endmacro %}
