{#-
    Sums and spreads that come out the same, bit for bit, in whatever order the rows are added up.
    Adding floats is not associative, and a parallel engine adds in any order: so whole numbers are
    added as they are, and fractions as decimals.
-#}
{% macro exact_sum(fraction) %}sum(cast({{ fraction }} as decimal(18, 12))){% endmacro %}

{#- Sample standard deviation of a whole number: null below two values. -#}
{% macro exact_stddev(number) -%}
    case
        when count({{ number }}) > 1
            then sqrt(cast(greatest(
                count({{ number }}) * sum(cast({{ number }} as bigint) * {{ number }})
                - sum(cast({{ number }} as bigint)) * sum(cast({{ number }} as bigint)), 0
            ) as double) / (cast(count({{ number }}) as double) * (count({{ number }}) - 1)))
    end
{%- endmacro %}

{#- One exact sum over another, as a 32-bit share; null where there is nothing to share. -#}
{% macro float_share(part, whole) -%}
    cast(cast({{ part }} as double) / nullif(cast({{ whole }} as double), 0) as float)
{%- endmacro %}
