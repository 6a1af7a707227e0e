-- What became of the rows that were read.
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

order_counts as (
    select
        count(*) as orders,
        count(distinct user_id) as shoppers,
        coalesce(sum(case when is_open then 1 else 0 end), 0) as open_orders,
        coalesce(sum(case when order_hour is null then 1 else 0 end), 0) as orders_without_time
    from orders
),

item_counts as (
    select count(*) as items from order_items
),

line_counts as (
    select coalesce(sum(row_count), 0) as lines
    from files
    where table_name in ('order_lines', 'order_products')
),

product_counts as (
    select
        count(*) as products,
        coalesce(sum(case when is_in_catalogue then 0 else 1 end), 0) as unnamed_products
    from products
),

counts as (
    select
        1 as position,
        'Order lines read' as what,
        lines as row_count,
        'all that the raw files have' as remark
    from line_counts
    union all
    select
        2,
        'Order lines merged',
        greatest(line_counts.lines - item_counts.items, 0),
        'a product that is in one order twice is one item'
    from line_counts
    cross join item_counts
    union all
    select
        3,
        'Order items',
        items,
        'what features and labels are made of'
    from item_counts
    union all
    select
        4,
        'Shoppers',
        shoppers,
        'everyone with an order'
    from order_counts
    union all
    select
        5,
        'Orders',
        orders,
        'open ones included'
    from order_counts
    union all
    select
        6,
        'Open orders',
        open_orders,
        'placed, but their products are not known yet'
    from order_counts
    union all
    select
        7,
        'Orders without a time of day',
        orders_without_time,
        'their hour is unknown'
    from order_counts
    union all
    select
        8,
        'Products',
        products,
        'in the catalogue, or bought'
    from product_counts
    union all
    select
        9,
        'Products without a catalogue row',
        unnamed_products,
        'kept, and called unknown'
    from product_counts
),

final as (
    select
        cast(position as integer) as position,
        what,
        cast(row_count as bigint) as row_count,
        remark
    from counts
)

select * from final
order by position
