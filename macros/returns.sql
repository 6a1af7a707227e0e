{#-
    The probability that an order has any of several products, from the probability of each. Orders
    have something in common: a large one has more of everything. So the products share a random
    factor on their hazards, gamma distributed with the variance `effect` (Clayton 1978). The
    probability of each product stays as it is, and an effect of 0 makes products independent:
    1 - prod(1 - p). `any_of` turns the sum of `hazard` over the products into the probability.
-#}

{#- Up to 2^20, so that `exact_sum` is exact for 128 such products. -#}
{% macro hazard(probability, effect) -%}
    {%- set absent = 'greatest(1 - cast(' ~ probability ~ ' as double), 1e-7)' -%}
    least(
        case
            when {{ effect }} = 0 then -ln({{ absent }})
            else (power({{ absent }}, -{{ effect }}) - 1) / {{ effect }}
        end,
        {{ 2 ** 20 }}
    )
{%- endmacro %}

{#- Not less than the probability of the likeliest product, which the limit of `hazard` could cause. -#}
{% macro any_of(hazards, effect, likeliest) -%}
    greatest(
        {{ likeliest }},
        case
            when {{ effect }} = 0 then 1 - exp(-{{ hazards }})
            else 1 - power(1 + {{ effect }} * {{ hazards }}, -1 / nullif({{ effect }}, 0))
        end
    )
{%- endmacro %}

{#- The half of the test shoppers that a shopper is in, 1 or 2, by a digit of the hash of the ID that
    splits and folds do not use. -#}
{% macro half_of(user_id) -%}
    case when substr(md5(cast({{ user_id }} as varchar)), 5, 1) < '8' then 1 else 2 end
{%- endmacro %}
