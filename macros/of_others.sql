{#-
    What is left of a sum over all shoppers without this one. None, if the population was summed up
    before this shopper, or anyone, bought.
-#}
{% macro of_others(everyone, own) -%}
    greatest(coalesce({{ everyone }}, 0) - {{ own }}, 0)
{%- endmacro %}
