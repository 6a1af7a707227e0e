{#-
    One bit for each of the last 24 orders, set if a line of the order meets a condition on the
    columns of `past_items`. The lowest bit is the last order.
-#}
{% macro order_bits(condition) -%}
    cast(bit_or(
        case
            when orders_ago between 1 and 24 and {{ condition }} then 1 << (orders_ago - 1)
            else 0
        end
    ) as integer)
{%- endmacro %}
