"""The made-up shop one day later, for tests of runs on new orders."""

import csv
import json
import shutil
from pathlib import Path

import duckdb

DELIVERED, LEAVER, NEWCOMER, NEW_PRODUCT = 5, 300, 301, 999_999


def let_a_day_pass(instacart_files: Path, folder: Path) -> None:
    shutil.copytree(instacart_files, folder, dirs_exist_ok=True)
    orders, prior, train = (
        f"'{folder}/{name}.csv'"
        for name in ("orders", "order_products__prior", "order_products__train")
    )
    duckdb.connect().execute(
        f"""
        create table delivered as
        select user_id, order_id, order_number
        from {orders} where eval_set = 'test' order by user_id limit {DELIVERED};

        create table theirs as
        select * from {orders} where user_id <> {LEAVER}
        union all
        select * replace ({NEWCOMER} as user_id, order_id + 1000000 as order_id)
        from {orders} where user_id = 7;

        create table lines as
        select *, 'prior' as file from {prior} union all select *, 'train' from {train};

        insert into lines
        select delivered.order_id, product_id, add_to_cart_order, 1, 'train'
        from delivered
        inner join {orders} as before
            on before.user_id = delivered.user_id
            and before.order_number = delivered.order_number - 1
        inner join lines on before.order_id = lines.order_id
        union all
        select min(order_id), {NEW_PRODUCT}, 999, 0, 'train' from delivered;

        insert into lines
        select lines.* replace (order_id + 1000000 as order_id)
        from lines semi join (from {orders} where user_id = 7) using (order_id);

        create table orders_now as
        select * replace (
            case when order_id in (select order_id from delivered) then 'train' else eval_set end
            as eval_set
        )
        from theirs;

        copy orders_now to {orders};
        copy (select * exclude (file) from lines semi join orders_now using (order_id)
            where file = 'prior') to {prior};
        copy (select * exclude (file) from lines semi join orders_now using (order_id)
            where file = 'train') to {train};
        """
    )


def add_an_aisle(raw: Path, folder: Path) -> Path:
    """Copy raw files, and add a product to the catalogue whose aisle is the first by name."""
    shutil.copytree(raw, folder)
    for name, row in (
        ("departments", (99, "a")),
        ("aisles", (999, "a")),
        ("products", (888_888, "New", 999, 99)),
    ):
        with (folder / f"{name}.csv").open("a", newline="") as file:
            csv.writer(file, lineterminator="\n").writerow(row)
    return folder


def age(model: Path) -> str:
    """Let a model be years old, so that the next run trains another, and return its old card.

    Where test shoppers are few, only the age of a model promotes a challenger.
    """
    card = model / "model.json"
    before = card.read_text()
    created_at = {"created_at": "2020-01-01T00:00:00+00:00"}
    card.write_text(json.dumps(json.loads(before) | created_at))
    return before
