{#-
    Sums and spreads that come out the same, bit for bit, in whatever order the rows are added up.
    Adding floats is not associative, and a parallel engine adds in any order; but floats that are
    whole numbers add up exactly, as long as the total stays below 2^53. So fractions are counted in
    units of 2^-bits, which is exact up to a total of 2^(53 - bits), and so is dividing by 2^bits. (A
    decimal would do as well, and take three times as long.)
-#}
{% macro exact_sum(fraction, bits=26, over='') -%}
    sum(floor(({{ fraction }}) * {{ 2 ** bits }})) {{ over }} / {{ 2 ** bits }}
{%- endmacro %}

{#- Sample standard deviation of a whole number: null below two values. -#}
{% macro exact_stddev(number) -%}
    case
        when count({{ number }}) > 1
            then sqrt(greatest(
                count({{ number }}) * sum(cast({{ number }} as double) * {{ number }})
                - sum(cast({{ number }} as double)) * sum(cast({{ number }} as double)), 0
            ) / (cast(count({{ number }}) as double) * (count({{ number }}) - 1)))
    end
{%- endmacro %}

{#- A part of a whole, as a 32-bit share; null where there is nothing to share. -#}
{% macro float_share(part, whole) %}cast({{ part }} / nullif({{ whole }}, 0) as float){% endmacro %}
