{#-
    Lines with the number of the purchase among those of its shopper and product, and the orders and
    days since the one before; null for the first. The rows are in the order of the key.
-#}
{% macro purchase_history(lines) %}
    {{- adapter.dispatch('purchase_history')(lines) -}}
{% endmacro %}

{% macro default__purchase_history(lines) -%}
    select
        *,
        row_number() over purchases as purchase_number,
        order_number - lag(order_number) over purchases as gap_orders,
        order_day - lag(order_day) over purchases as gap_days
    from {{ lines }}
    window purchases as (partition by user_id, product_id order by order_number)
    order by user_id, product_id, order_number
{%- endmacro %}

{#-
    DuckDB streams a window without a partition through sorted rows, and that takes half the time of
    a window with one, which sorts again. The purchase before a line is then in the row above it.
-#}
{% macro duckdb__purchase_history(lines) -%}
    select
        *,
        place - max(case when is_first then place - 1 else 0 end) over (
            rows between unbounded preceding and current row
        ) as purchase_number,
        case when not is_first then order_number - number_above end as gap_orders,
        case when not is_first then order_day - day_above end as gap_days
    from (
        select
            *,
            row_number() over () as place,
            lag(order_number) over () as number_above,
            lag(order_day) over () as day_above,
            coalesce(
                lag(user_id) over () <> user_id or lag(product_id) over () <> product_id, true
            ) as is_first
        from (select * from {{ lines }} order by user_id, product_id, order_number)
    )
{%- endmacro %}
