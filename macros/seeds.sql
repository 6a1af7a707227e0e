{#-
    Lets `dbt run` and `dbt test` work in a fresh clone: dbt loads a seed only in `dbt seed` and
    `dbt build`. A seed that this command selects is left to dbt, and a table that exists stays as
    it is, so an edited CSV still needs `dbt seed`, as in any dbt project.
-#}
{% macro load_missing_seeds() %}
    {{- adapter.dispatch('load_missing_seeds')() -}}
{% endmacro %}

{#- On other engines, `dbt seed` runs first: only DuckDB reads a file next to the project. -#}
{% macro default__load_missing_seeds() %}{% endmacro %}

{% macro duckdb__load_missing_seeds() %}
    {%- if execute -%}
        {%- for seed in graph.nodes.values()
            if seed.resource_type == 'seed' and seed.unique_id not in selected_resources %}
            create table if not exists {{ seed.relation_name }} as
            select * from read_csv(
                '{{ (seed.root_path ~ '/' ~ seed.original_file_path) | replace("'", "''") }}',
                header = true, types = {{ seed.config.column_types }}
            );
        {%- endfor -%}
    {%- endif -%}
{% endmacro %}
