{#-
    Ends of a 95% interval; `sign` is '-' for the lower and '+' for the upper one. All are null where
    there is nothing to divide by.
-#}

{#- Of a share, from independent trials (Wilson 1927). -#}
{% macro wilson_end(share, trials, sign) -%}
    (
        {{ share }} + 1.9208 / nullif({{ trials }}, 0)
        {{ sign }} 1.96 * sqrt(
            {{ share }} * (1 - {{ share }}) / nullif({{ trials }}, 0)
            + 0.9604 / nullif(cast({{ trials }} as double) * {{ trials }}, 0)
        )
    ) / (1 + 3.8416 / nullif({{ trials }}, 0))
{%- endmacro %}

{#- Of sum(part) / sum(whole) over the rows of a group, two whole numbers each: rows vary as wholes,
    what is in one row need not be independent (Cochran 1977, equation 2.46). Within 0 and 1; null
    below ten rows, which say too little of how much rows vary. -#}
{% macro ratio_end(part, whole, sign) -%}
    case
        when count(*) >= 10
            then {{ 'greatest(0, ' if sign == '-' else 'least(1, ' }}(
                sum({{ part }}) {{ sign }} 1.96 * sqrt(greatest(0,
                    sum(cast({{ part }} as double) * {{ part }})
                    - 2 * (sum({{ part }}) / sum({{ whole }}))
                    * sum(cast({{ part }} as double) * {{ whole }})
                    + power(sum({{ part }}) / sum({{ whole }}), 2)
                    * sum(cast({{ whole }} as double) * {{ whole }})
                ))
            ) / sum({{ whole }}))
    end
{%- endmacro %}

{#- Of a count with this variance, which is above 0: from a sum of probabilities p, sum(p * (1 - p)). -#}
{% macro count_end(count, variance, sign) -%}
    greatest(0, {{ count }} {{ sign }} 1.96 * sqrt({{ variance }}))
{%- endmacro %}
