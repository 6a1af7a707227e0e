-- Row counts from the raw files to the core tables.
with

files as (
    select * from {{ ref('rpt_raw_files') }}
),

orders as (
    select * from {{ ref('fct_orders') }}
),

order_items as (
    select * from {{ ref('fct_order_items') }}
),

products as (
    select * from {{ ref('dim_products') }}
),

line_counts as (
    select
        coalesce(sum(row_count), 0) as lines,
        coalesce(sum(rejected_count), 0) as left_out_lines
    from files
    where table_name in ('order_lines', 'order_products')
),

event_counts as (
    select
        coalesce(sum(row_count), 0) as events,
        coalesce(sum(rejected_count), 0) as left_out_events
    from files
    where table_name = 'events'
),

item_counts as (
    select count(*) as items from order_items
),

order_counts as (
    select
        count(*) as orders,
        count(distinct user_id) as shoppers,
        coalesce(sum(case when is_open then 1 else 0 end), 0) as open_orders,
        coalesce(sum(case when order_hour is null then 1 else 0 end), 0) as untimed_orders
    from orders
),

product_counts as (
    select
        count(*) as products,
        coalesce(sum(case when is_in_catalogue then 0 else 1 end), 0) as unnamed_products
    from products
),

counts as (
    select
        line_counts.*,
        item_counts.*,
        order_counts.*,
        product_counts.*,
        event_counts.*,
        -- Not below 0: after a plain `dbt build`, ml.raw_files is empty.
        greatest(line_counts.lines - line_counts.left_out_lines - item_counts.items, 0)
            as merged_lines
    from line_counts
    cross join item_counts
    cross join order_counts
    cross join product_counts
    cross join event_counts
),

final as (
    {% for column, what, remark in [
        ('lines', 'Order lines read', 'everything in the raw files'),
        ('left_out_lines', 'Order lines left out', 'not purchases, or after the scoring date'),
        ('merged_lines', 'Order lines merged', 'a product listed twice in an order counts once'),
        ('items', 'Order items', 'the purchases that all figures rest on'),
        ('shoppers', 'Shoppers', 'everybody with an order'),
        ('orders', 'Orders', 'open orders included'),
        ('open_orders', 'Open orders', 'placed, but their products are not known yet'),
        ('untimed_orders', 'Orders without a time of day', 'counted by weekday, but not by hour'),
        ('products', 'Products', 'in the catalogue or in an order'),
        ('unnamed_products', 'Products without a catalogue row', 'kept under the name unknown'),
        ('events', 'Events read', 'views, carts and other actions'),
        ('left_out_events', 'Events left out', 'duplicates, ignored types, purchases that are in the orders'),
    ] %}
        select
            {{ loop.index }} as position,
            '{{ what }}' as what,
            cast({{ column }} as bigint) as row_count,
            '{{ remark }}' as remark
        from counts
        {% if not loop.last %}union all{% endif %}
    {% endfor %}
)

select * from final
order by position
