{#-
    A small run changes tables of the last release in place: it replaces the days from the var
    `rebuild_from` on, and the rows at cutoff 0. Their models are incremental. Every other dbt
    command builds them whole, so that no table depends on what was there before.
-#}
{% macro should_full_refresh() %}
    {{- return(
        flags.FULL_REFRESH
        or (model.config.materialized == 'incremental' and not var('rebuild_from'))
    ) -}}
{% endmacro %}

{#- The first day that a small run replaces. -#}
{% macro rebuilt_from() %}date '{{ var('rebuild_from') }}'{% endmacro %}

{#- Deletes the rows of a model that a small run replaces, before it adds them. -#}
{% macro forget(rows) -%}
    {%- if is_incremental() %}delete from {{ this }} where {{ rows }}{% endif -%}
{%- endmacro %}
