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
    {{ stddev_of(
        'count(' ~ number ~ ')', 'sum(' ~ number ~ ')', 'sum(cast(' ~ number ~ ' as double) * ' ~ number ~ ')'
    ) }}
{%- endmacro %}

{#- The same from the number of values, their sum and the sum of their squares. -#}
{% macro stddev_of(n, total, squares) -%}
    case
        when {{ n }} > 1
            then sqrt(
                greatest(({{ n }}) * {{ squares }} - cast({{ total }} as double) * ({{ total }}), 0)
                / (cast({{ n }} as double) * ({{ n }} - 1))
            )
    end
{%- endmacro %}

{#- A part of a whole, as a 32-bit share; null where there is nothing to share. -#}
{% macro float_share(part, whole) %}cast({{ part }} / nullif({{ whole }}, 0) as float){% endmacro %}
