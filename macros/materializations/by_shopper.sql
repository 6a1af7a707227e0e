{#-
    The materialization `by_shopper` builds a table in blocks of shoppers. An aggregate over all
    shoppers' pasts does not fit into memory; an aggregate over a block does. The rows are in the
    order of the blocks. A model needs the columns cutoff and user_id and a ref to `targets`, and no
    shopper's rows may depend on another's. A model with `by_shopper_of='moments'` in its config
    needs a ref to `moments` instead, and a small run replaces its rows at cutoff 0 only.
-#}
{% materialization by_shopper, adapter='duckdb' %}
    {%- set target = this.incorporate(type='table') -%}
    {%- set existing = load_cached_relation(this) -%}
    {%- if config.get('by_shopper_of', 'targets') == 'moments' -%}
        {%- set shoppers, size, limit = ref('moments'), '1', var('block_moments') -%}
    {%- else -%}
        {%- set shoppers, size, limit = ref('targets'), 'order_number', var('block_orders') -%}
    {%- endif -%}
    {%- set is_small = var('rebuild_from') and existing is not none -%}
    {%- set cutoffs = 'cutoff = 0' if is_small else 'cutoff >= 0' -%}
    {%- set blocks -%}
        select min(user_id) as low, max(user_id) as high
        from (
            select
                user_id,
                floor(sum(sum({{ size }})) over (order by user_id) / {{ limit }}) as block
            from {{ shoppers }}
            where {{ cutoffs }}
            group by user_id
        )
        group by block
        order by low
    {%- endset -%}

    {{ run_hooks(pre_hooks) }}
    {% if existing is not none and existing.type != 'table' -%}
        {{ drop_relation_if_exists(existing) }}
    {%- endif %}
    {%- set blocks = run_query(blocks).rows %}
    {% if is_small -%}
        {% call statement('main') -%}
            delete from {{ target }} where cutoff = 0
        {%- endcall %}
    {%- elif not blocks -%}
        {% call statement('main') -%}
            create or replace table {{ target }} as select * from ({{ sql }}) limit 0
        {%- endcall %}
    {%- endif %}
    {% for block in blocks -%}
        {% call statement('main' if loop.first and not is_small else none) -%}
            {#- Do not create an empty table first: DuckDB 2.0 treats a table that is filled in the
                same transaction as empty until the file is reopened. -#}
            {{ 'create or replace table %s as' | format(target) if loop.first and not is_small
                else 'insert into %s' | format(target) }}
            select * from ({{ sql }})
            where {{ cutoffs }} and user_id between {{ literal(block.low) }} and {{ literal(block.high) }}
            order by cutoff, user_id
        {%- endcall %}
    {%- endfor %}
    {{ run_hooks(post_hooks) }}
    {{ adapter.commit() }}

    {{ return({'relations': [target]}) }}
{% endmaterialization %}

{% macro literal(id) %}{{ "'" ~ (id | string | replace("'", "''")) ~ "'" }}{% endmacro %}
