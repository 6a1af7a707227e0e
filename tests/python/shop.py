"""A made-up shop with habits and rhythms, as an order log: rows for tests to change and write."""

import csv
import random
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import NamedTuple

HEADER = ("user_id", "order_id", "ordered_at", "product_id")


class Line(NamedTuple):
    """One order line."""

    user: str
    order: str
    at: datetime
    product: str

    def texts(self) -> tuple[str, ...]:
        """Return the values in the order of `HEADER`."""
        return self.user, self.order, self.at.isoformat(" "), self.product


def shop(shoppers: int = 60, orders: int = 8, seed: int = 3) -> list[Line]:
    """Return the lines of some shoppers with about this many orders each, by day."""
    rng, lines, order = random.Random(seed), [], 1000
    for user in range(1, shoppers + 1):
        at = datetime(2023, 3, 1, 9) + timedelta(days=rng.randrange(20), minutes=rng.randrange(600))
        usual = rng.sample(range(1, 31), 5)
        for _ in range(orders + rng.randrange(-2, 3)):
            order += 1
            products = {rng.choice(usual) for _ in range(3)} | {rng.randrange(1, 31)}
            lines += [Line(str(user), str(order), at, str(product)) for product in products]
            at += timedelta(days=rng.randrange(4, 11), minutes=rng.randrange(-90, 90))
    return sorted(lines, key=lambda line: line.at)


def write(folder: Path, rows: Iterable[Sequence[object]], header: Sequence[str] = HEADER) -> Path:
    """Write order_lines.csv and return the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "order_lines.csv").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([header, *rows])
    return folder


def write_lines(
    folder: Path, lines: Iterable[Line], change: Callable[[Line], Line] = lambda line: line
) -> Path:
    """Write lines, each after a change, with the columns of `HEADER`."""
    return write(folder, [change(line).texts() for line in lines])
