{#- The split of a shopper: 20% test, 10% validation. All engines sort hex digits alike. -#}
{% macro split_of(user_id) -%}
    case
        when md5(cast({{ user_id }} as varchar)) < '3333' then 'test'
        when md5(cast({{ user_id }} as varchar)) < '4ccc' then 'validation'
        else 'train'
    end
{%- endmacro %}
