{#- The class of a shopper's history length. -#}
{% macro history_length(orders) -%}
    case
        when {{ orders }} < 3 then '1 to 2 orders'
        when {{ orders }} < 5 then '3 to 4 orders'
        when {{ orders }} < 10 then '5 to 9 orders'
        when {{ orders }} < 20 then '10 to 19 orders'
        else '20 or more orders'
    end
{%- endmacro %}
