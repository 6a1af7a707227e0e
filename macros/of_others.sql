{#-
    A sum over all shoppers without this shopper's part. It is 0 if the population tables are older
    than the shopper's purchases.
-#}
{% macro of_others(everyone, own) -%}
    greatest(coalesce({{ everyone }}, 0) - {{ own }}, 0)
{%- endmacro %}
