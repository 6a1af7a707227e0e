{#-
    Ends of 95% intervals: `sign` is '-' for the lower end and '+' for the upper end. An end is null
    if its denominator is 0.
-#}

{#- For a share of independent trials (Wilson 1927). -#}
{% macro wilson_end(share, trials, sign) -%}
    (
        {{ share }} + 1.9208 / nullif({{ trials }}, 0)
        {{ sign }} 1.96 * sqrt(
            {{ share }} * (1 - {{ share }}) / nullif({{ trials }}, 0)
            + 0.9604 / nullif(cast({{ trials }} as double) * {{ trials }}, 0)
        )
    ) / (1 + 3.8416 / nullif({{ trials }}, 0))
{%- endmacro %}

{#- For sum(part) / sum(whole) over the rows of a group (Cochran 1977, equation 2.46). Rows are
    independent of one another; what one row counts need not be. Null below ten rows with a `whole`,
    which are too few to estimate the variance between rows. -#}
{% macro ratio_end(part, whole, sign, bits=0, is_share=true) -%}
    {%- set parts, wholes = exact_sum(part, bits), exact_sum(whole, bits) -%}
    {%- set squares = exact_sum('cast(' ~ part ~ ' as double) * ' ~ part, bits) -%}
    {%- set products = exact_sum('cast(' ~ part ~ ' as double) * ' ~ whole, bits) -%}
    {%- set whole_squares = exact_sum('cast(' ~ whole ~ ' as double) * ' ~ whole, bits) -%}
    case
        when count({{ whole }}) >= 10
            then {{ 'greatest(0, ' if sign == '-' else 'least(1, ' if is_share else '(' }}(
                {{ parts }} {{ sign }} 1.96 * sqrt(greatest(0,
                    {{ squares }} - 2 * ({{ parts }} / ({{ wholes }})) * {{ products }}
                    + power({{ parts }} / ({{ wholes }}), 2) * {{ whole_squares }}
                ))
            ) / ({{ wholes }}))
    end
{%- endmacro %}

{#- For a count with a known, positive variance: sum(p * (1 - p)) for a sum of probabilities p. -#}
{% macro count_end(count, variance, sign) -%}
    greatest(0, {{ count }} {{ sign }} 1.96 * sqrt({{ variance }}))
{%- endmacro %}

{#- The probability that a standard normal variable is at least as far from 0 as z (Abramowitz and
    Stegun 1964, equation 26.2.17, which errs by less than 2e-7). -#}
{% macro two_sided_p(z) -%}
    {%- set t = '(1 / (1 + 0.2316419 * abs(' ~ z ~ ')))' -%}
    sqrt(2 / pi()) * exp(-0.5 * power({{ z }}, 2)) * {{ t }} * (
        0.319381530 + {{ t }} * (
            -0.356563782 + {{ t }} * (
                1.781477937 + {{ t }} * (-1.821255978 + {{ t }} * 1.330274429)
            )
        )
    )
{%- endmacro %}
