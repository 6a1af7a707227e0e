"""Order logs of shops that are unlike most: predictable, tiny or nasty. Standard library only."""

import csv
import datetime as dt
import random
from collections.abc import Iterable
from pathlib import Path

Line = tuple[object, object, dt.datetime, object]
"""Shopper, order, time, product."""
START = dt.datetime(2023, 1, 2, 9)


def write(folder: Path, lines: Iterable[Line]) -> Path:
    """Write the lines of a shop as order_lines.csv, and return the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "order_lines.csv").open("w", newline="", encoding="utf-8") as file:
        out = csv.writer(file)
        out.writerow(("user_id", "order_id", "ordered_at", "product_id"))
        out.writerows((u, o, at.strftime("%Y-%m-%d %H:%M:%S"), p) for u, o, at, p in lines)
    return folder


def standing_orders(shoppers: int = 200) -> list[Line]:
    """The same five products every week, and now and then something once."""
    r, lines, order = random.Random(4), list[Line](), 0
    for user in range(1, shoppers + 1):
        usual = r.sample(range(1, 60), 5)
        for week in range(10):
            order += 1
            once = [r.randrange(100, 400)] if r.random() < 0.7 else []
            at = START + dt.timedelta(days=user % 7 + 7 * week)
            lines += [(user, order, at, product) for product in usual + once]
    return lines


def deliveries(shoppers: int = 150) -> list[Line]:
    """Products that come every second, third or fourth week, each shopper with a pause."""
    r, lines = random.Random(5), list[Line]()
    for user in range(1, shoppers + 1):
        every = {product: r.choice([1, 2, 3, 4]) for product in r.sample(range(1, 80), 8)}
        phase = r.randrange(12)
        pause = r.randrange(5, 40)
        for week in range(14):
            at = START + dt.timedelta(days=7 * week + (pause if week > 6 else 0), hours=user % 8)
            due = [product for product, weeks in every.items() if (week + phase) % weeks == 0]
            lines += [(user, f"{user}-{week}", at, product) for product in due]
    return lines


def small(shoppers: int, orders: int = 12, first: int = 1, seed: int = 3) -> list[Line]:
    """A few shoppers with habits, who also try other products."""
    r, lines = random.Random(seed), list[Line]()
    for user in range(first, first + shoppers):
        usual = r.sample(range(1, 41), 6)
        at = START + dt.timedelta(days=r.randrange(20))
        for order in range(orders):
            basket = {r.choice(usual) if r.random() < 0.6 else r.randrange(1, 41) for _ in range(5)}
            lines += [(f"c{user}", f"{user}-{order}", at, product) for product in sorted(basket)]
            at += dt.timedelta(days=max(1, int(r.gauss(7, 1.5))), hours=r.randrange(-4, 5))
    return lines


def steady(users: Iterable[int], orders: int = 12) -> list[Line]:
    """Ten products each with a chance that never changes: their frequency is all there is to know.

    The first order has all of them.
    """
    r, lines = random.Random(7), list[Line]()
    for user in users:
        chance = {product: r.random() ** 2 for product in r.sample(range(1, 60), 10)}
        chance[100] = 0.9  # so that hardly any order is empty
        for order in range(orders):
            at = START + dt.timedelta(days=7 * order + user % 7 + r.randrange(3), hours=user % 8)
            basket = [p for p, c in chance.items() if order == 0 or r.random() < c]
            lines += [(user, f"{user}-{order}", at, product) for product in basket]
    return lines


NAMES = (
    "<script>alert('1')</script> & <b>bold</b>",
    "🥑🧑🏽‍🌾 avocado 🏳️‍🌈 e\u0301 \u202eright to left\u202c",
    "x" * 300,
    "a name of many words " * 15,
    "",
    "same name",
    "same name",
    "**bold** [link](index.md) `code` {summary.pair_count} ${inputs.shopper} {#if a.b}",
    "\ue0000\ue000 ﷽ \u200b zero width",
    "two\nlines\tand a tab",
    "quotes \" and ' and \\ and %s {0}",
    "department=a=b",
    "All others",
    "Every department",
    "unknown",
    "-0",
    "NaN",
)


def nasty(folder: Path, aisles: int = 4800, departments: int = 1, shoppers: int = 60) -> Path:
    """A shop of strange names, aisles of one product, an order of 5,000 lines, and odd shoppers."""
    r, lines, products = random.Random(6), list[Line](), max(5_000, aisles)
    for user in range(shoppers):
        usual = r.sample(range(products), 30)
        for order in range(6):
            at = START + dt.timedelta(days=9 * order + user % 9, hours=r.randrange(12))
            basket = r.sample(usual, 15) + r.sample(range(products), 25)
            lines += [(f"s{user}", f"{user}-{order}", at, f"p{p}") for p in sorted(set(basket))]
    for order in range(6):  # one shopper buys everything, every time
        at = START + dt.timedelta(days=8 * order, hours=3)
        lines += [("bulk", f"bulk-{order}", at, f"p{product}") for product in range(5_000)]
    lines += [("once", "once-1", START, "p1"), ("<i>html</i> 🥑", "h-1", START, "p2")]
    for order in range(8):  # everything once
        at = START + dt.timedelta(days=7 * order, hours=5)
        bought = range(100 * order, 100 * order + 5)
        lines += [("never again", f"n-{order}", at, f"p{product}") for product in bought]
    write(folder, lines)
    with (folder / "products.csv").open("w", newline="", encoding="utf-8") as file:
        out = csv.writer(file)
        out.writerow(("product_id", "product_name", "aisle", "department"))
        for product in range(products - 50):  # the last 50 are not in the catalogue
            name = NAMES[product % 40] if product % 40 < len(NAMES) else f"product {product}"
            aisle, department = product % aisles, product % departments
            out.writerow(
                (
                    f"p{product}",
                    name,
                    NAMES[aisle] if aisle < len(NAMES) else f"aisle {aisle}",
                    NAMES[department] if department < len(NAMES) else f"department {department}",
                )
            )
    return folder
