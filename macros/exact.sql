{#-
    Sums and standard deviations that are the same, bit for bit, in any order of the rows. A parallel
    engine adds floats in any order, and float addition is not associative. But whole numbers stored
    as floats add up exactly while the total stays below 2^53. So these macros count fractions in
    units of 2^-bits: exact up to a total of 2^(53 - bits). Dividing by 2^bits is exact too.
    Decimals would work as well, but take three times as long.
-#}
{% macro exact_sum(fraction, bits=26, over='') -%}
    sum(floor(({{ fraction }}) * {{ 2 ** bits }})) {{ over }} / {{ 2 ** bits }}
{%- endmacro %}

{#- Sample standard deviation of a whole number; null below two values. -#}
{% macro exact_stddev(number) -%}
    {{ stddev_of(
        'count(' ~ number ~ ')', 'sum(' ~ number ~ ')', 'sum(cast(' ~ number ~ ' as double) * ' ~ number ~ ')'
    ) }}
{%- endmacro %}

{#- Sample standard deviation from a count, the sum of the values and the sum of their squares. -#}
{% macro stddev_of(n, total, squares) -%}
    case
        when {{ n }} > 1
            then sqrt(
                greatest(({{ n }}) * {{ squares }} - cast({{ total }} as double) * ({{ total }}), 0)
                / (cast({{ n }} as double) * ({{ n }} - 1))
            )
    end
{%- endmacro %}

{#- A part divided by a whole, as a 32-bit float; null if the whole is 0. -#}
{% macro float_share(part, whole) %}cast({{ part }} / nullif({{ whole }}, 0) as float){% endmacro %}
