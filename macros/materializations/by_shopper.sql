{#-
    The materialization `by_shopper`: a table that is made for a block of shoppers at a time. What
    an aggregate over all pasts needs would not fit into memory; a block does, and the table comes
    out in order of its blocks. For models in which no shopper's rows depend on another's.
    Needs: the columns cutoff and user_id, and a ref to `targets`.
-#}
{% materialization by_shopper, adapter='duckdb' %}
    {%- set target = this.incorporate(type='table') -%}
    {%- set existing = load_cached_relation(this) -%}
    {%- set blocks -%}
        select min(user_id) as low, max(user_id) as high
        from (
            select
                user_id,
                floor(sum(sum(order_number)) over (order by user_id) / {{ var('block_orders') }})
                    as block
            from {{ ref('targets') }}
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
    {% if not blocks -%}
        {% call statement('main') -%}
            create or replace table {{ target }} as select * from ({{ sql }}) limit 0
        {%- endcall %}
    {%- endif %}
    {% for block in blocks -%}
        {% call statement('main' if loop.first else none) -%}
            {#- Not an empty table first: DuckDB 2.0 takes one that was filled in its transaction
                for empty until it is opened again. -#}
            {{ 'create or replace table %s as' | format(target) if loop.first
                else 'insert into %s' | format(target) }}
            select * from ({{ sql }})
            where user_id between {{ literal(block.low) }} and {{ literal(block.high) }}
            order by cutoff, user_id
        {%- endcall %}
    {%- endfor %}
    {{ run_hooks(post_hooks) }}
    {{ adapter.commit() }}

    {{ return({'relations': [target]}) }}
{% endmaterialization %}

{% macro literal(id) %}{{ "'" ~ (id | string | replace("'", "''")) ~ "'" }}{% endmacro %}
