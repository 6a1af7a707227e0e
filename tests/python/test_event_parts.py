"""A second fetch reads only new and changed files of events, and lands what a first one would."""

import csv
import os
import random
import shutil
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ml.reading import Reading
from ml.sources import (
    Intake,
    SourceError,
    delivery,
    event_parts,
    event_selection,
    land,
    landed_events,
    newest,
)

pytestmark = pytest.mark.slow

HEADER = ("user_id", "occurred_at", "event_type", "event_id", "received_at")
Row = tuple[Any, ...]
VIEW = (1, "2024-03-04 09:00:00", "view", "a", "2024-03-04 09:00:00")


class Shop:
    """Daily files of events beside two orders."""

    def __init__(self, folder: Path, suffix: str = "csv") -> None:
        self.raw, self.landing, self.fresh = (folder / n for n in ("raw", "landing", "fresh"))
        self.suffix, self.reading = suffix, Reading()
        (self.raw / "events").mkdir(parents=True)
        self.orders((1, 11, "2024-03-04 09:10:00", 5), (2, 12, "2024-03-06 10:00:00", 6))

    def orders(self, *rows: Row) -> None:
        header = ("user_id", "order_id", "ordered_at", "product_id")
        write(self.raw / "order_lines.csv", rows, header)

    def file(self, day: str) -> Path:
        return self.raw / "events" / f"{day}.{self.suffix}"

    def write(self, day: str, *rows: Row) -> None:
        """Write the file of a day, with columns of their own types if it is Parquet."""
        if self.suffix == "csv":
            write(self.file(day), rows)
            return
        types = (pa.int64(), pa.timestamp("us"), pa.string(), pa.string(), pa.timestamp("us"))
        columns = zip(*rows, strict=True) if rows else [()] * len(HEADER)
        arrays = [
            pa.array(
                [datetime.fromisoformat(v) if v and "time" in str(type_) else v or None for v in c],
                type_,
            )
            for c, type_ in zip(columns, types, strict=True)
        ]
        pq.write_table(pa.table(dict(zip(HEADER, arrays, strict=True))), self.file(day))

    def fetch(self) -> Intake:
        """Land the files, and check that the result is that of a first fetch."""
        intake = land("order_log", self.raw, self.landing, reading=self.reading)
        shutil.rmtree(self.fresh, ignore_errors=True)
        first = land("order_log", self.raw, self.fresh, reading=self.reading)
        assert replace(intake, seconds=0) == replace(first, seconds=0)
        assert rows(self.landing) == rows(self.fresh)
        assert delivery(self.landing) == delivery(self.fresh)
        assert newest(self.landing) == newest(self.fresh)
        return intake

    def parts(self) -> set[int]:
        """The landed files, by what tells files on disk apart."""
        return {path.stat().st_ino for path in self.landing.glob("events/part_*.parquet")}


def write(path: Path, rows: Iterable[Sequence[Any]], header: Sequence[str] = HEADER) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([header, *rows])


def rows(landing: Path) -> list[Row]:
    with duckdb.connect() as con:
        events = con.execute(f"from ({landed_events(landing)}) order by all").fetchall()
        days = con.execute(f"from '{landing}/event_days.parquet' order by all").fetchall()
        lines = con.execute(f"from '{landing}/order_lines.parquet' order by all").fetchall()
    return [*events, *days, *lines]


@pytest.fixture(params=["csv", "parquet"])
def shop(request: pytest.FixtureRequest, tmp_path: Path) -> Shop:
    """Three days of events. The view `b` of the second day is in the file of the third too."""
    shop = Shop(tmp_path, request.param)
    shop.write("2024-03-04", VIEW, (1, "2024-03-04 09:10:00", "purchase", "p", ""))
    shop.write("2024-03-05", (2, "2024-03-05 20:00:30", "view", "b", "2024-03-05 20:00:31"))
    shop.write(
        "2024-03-06",
        (2, "2024-03-05 20:00:30", "view", "b", "2024-03-06 08:00:00"),
        (2, "2024-03-06 09:59:00", "cart", "c", ""),
        (2, "2024-03-06 09:59:00", "cart", "", ""),
    )
    shop.fetch()
    return shop


def test_only_a_new_file_is_read(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    before = shop.parts()
    read: list[str] = []
    real = event_parts._land

    def spy(con: Any, part: Any, *rest: Any) -> Any:
        read.append(part.file.path.stem)
        return real(con, part, *rest)

    shop.write("2024-03-07", (1, "2024-03-07 09:00:00", "view", "d", ""))
    monkeypatch.setattr(event_parts, "_land", spy)
    land("order_log", shop.raw, shop.landing)
    assert read == ["2024-03-07"]
    monkeypatch.undo()
    assert before < shop.parts() and len(shop.parts()) == 4
    shop.fetch()


def test_a_double_of_an_old_event_does_not_count(shop: Shop) -> None:
    shop.write("2024-03-07", (*VIEW[:4], "2024-03-07 09:00:00"), VIEW)
    intake = shop.fetch()
    (file,) = [file for file in intake.files if "2024-03-07" in file.name]
    assert file.left_out == {"that are doubles": 2}


def test_of_an_old_and_a_new_event_the_first_received_counts(shop: Shop) -> None:
    """The file that comes later has the event as it was received first."""
    shop.write("2024-03-07", (2, "2024-03-05 20:00:30", "view", "b", "2024-03-05 20:00:30"))
    intake = shop.fetch()
    left_out = [file.left_out for file in intake.files if file.table == "events"]
    assert left_out[1:] == [{"that are doubles": 1}, {"that are doubles": 1}, {}]


def test_an_event_that_is_late_counts_on_the_day_it_came_in(shop: Shop) -> None:
    shop.write("2024-03-07", (1, "2024-03-04 09:00:00", "cart", "late", "2024-03-07 09:00:00"))
    assert any("1 events were received on a later day" in note for note in shop.fetch().notes)


def test_a_file_may_grow(shop: Shop) -> None:
    """The file of the last day is often exported before the day has ended."""
    old = (2, "2024-03-06 09:59:00", "cart", "c", "")
    shop.write("2024-03-06", old, (2, "2024-03-06 22:00:00", "view", "", ""))
    assert sum(file.rows for file in shop.fetch().files if file.table == "events") == 5


def test_what_a_removed_file_has_doubled_counts(shop: Shop) -> None:
    assert any("that are doubles" in file.left_out for file in shop.fetch().files)
    shop.file("2024-03-05").unlink()
    assert not any("that are doubles" in file.left_out for file in shop.fetch().files)


def test_an_older_file_may_come_later(shop: Shop) -> None:
    """Of events received at once, the one in the first file counts."""
    shop.write("2024-03-03", VIEW)
    left_out = [file.left_out for file in shop.fetch().files if file.table == "events"]
    assert left_out[0] == {} and left_out[1]["that are doubles"] == 1


def test_a_day_may_have_no_events(shop: Shop) -> None:
    shop.write("2024-03-07")
    shop.fetch()


def test_other_orders_change_no_landed_event(shop: Shop) -> None:
    before = shop.parts()
    shop.orders((1, 11, "2024-03-04 09:10:00", 5), (2, 13, "2024-03-07 10:00:00", 6))
    shop.fetch()
    assert shop.parts() == before


def ids_of_text(shop: Shop) -> None:
    shop.orders(("u1", 11, "2024-03-04 09:10:00", 5))


def other_settings(shop: Shop) -> None:
    shop.reading = Reading(skip_shoppers=("2",))


def no_orders(shop: Shop) -> None:
    (shop.raw / "order_lines.csv").unlink()


def other_types(shop: Shop) -> None:
    write(shop.raw / "event_types.csv", [("cart", "ignore")], ("event_name", "event_type"))


@pytest.mark.parametrize("change", [ids_of_text, other_settings, no_orders, other_types])
def test_other_rules_land_every_file_again(shop: Shop, change: Callable[[Shop], None]) -> None:
    before = shop.parts()
    change(shop)
    shop.fetch()
    assert not shop.parts() & before


def test_times_with_offsets_do_not_follow_times_without(tmp_path: Path) -> None:
    """What is known of the files that are not read again still counts."""
    shop = Shop(tmp_path)
    shop.write("2024-03-04", VIEW)
    shop.fetch()
    shop.write("2024-03-05", (1, "2024-03-05 09:00:00+01:00", "view", "d", ""))
    with pytest.raises(SourceError, match="has no UTC offset") as caught:
        shop.fetch()
    assert caught.value.file == "events/2024-03-04.csv"


def test_a_landed_file_that_is_damaged_is_not_used(shop: Shop) -> None:
    before = shop.parts()
    part = next(shop.landing.glob("events/part_*.parquet"))
    part.write_bytes(part.read_bytes()[:-1])
    shop.write("2024-03-07", (1, "2024-03-07 09:00:00", "view", "d", ""))
    shop.fetch()
    assert not shop.parts() & before


def test_a_fault_in_a_new_file_changes_nothing(shop: Shop) -> None:
    before = rows(shop.landing)
    shop.write("2024-03-07", VIEW, (1, "2024-03-07 09:00:00", "vew", "d", ""))
    with pytest.raises(SourceError, match="vew"):
        land("order_log", shop.raw, shop.landing)
    assert rows(shop.landing) == before
    shop.write("2024-03-07", (1, "2024-03-07 09:00:00", "view", "d", ""))
    shop.fetch()


@pytest.mark.parametrize("at", ["write", "_link", "_land"])
def test_a_killed_fetch_changes_nothing(
    shop: Shop, at: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def kill(*_: Any) -> None:
        raise KeyboardInterrupt

    before = rows(shop.landing)
    shop.write("2024-03-07", (1, "2024-03-07 09:00:00", "view", "d", ""))
    monkeypatch.setattr(event_parts.Landing if at == "write" else event_parts, at, kill)
    with pytest.raises(KeyboardInterrupt):
        land("order_log", shop.raw, shop.landing)
    monkeypatch.undo()
    assert rows(shop.landing) == before
    shop.fetch()


def test_a_file_system_without_links_works(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> None:
        raise OSError("no links here")

    monkeypatch.setattr(os, "link", fail)
    shop.write("2024-03-07", (1, "2024-03-07 09:00:00", "view", "d", ""))
    shop.fetch()


@pytest.mark.parametrize("seed", range(2))
def test_any_changes_land_what_a_first_fetch_lands(
    seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Files come, grow, shrink and go, with the same few events in many of them."""
    monkeypatch.setattr(event_selection, "_SLICE_ROWS", 7)
    draw = random.Random(seed)
    shop = Shop(tmp_path, draw.choice(["csv", "parquet"]))
    files: dict[str, list[Row]] = {}

    def event() -> Row:
        minute = draw.randrange(4)
        received = draw.choice(["", f"2024-03-0{draw.randrange(4, 8)} 10:00:00"])
        name = draw.choice(["view", "view", "cart", "purchase"])
        event_id = draw.choice(["", *"abcdefgh"])
        return draw.randrange(1, 4), f"2024-03-04 09:0{minute}:00", name, event_id, received

    for day in range(8):
        name = f"2024-03-{draw.randrange(1, 29):02}"
        if day % 3 == 2:
            name = draw.choice(list(files))
        old = draw.sample(files.get(name, []), k=len(files.get(name, [])) // 2)
        files[name] = [*old, *(event() for _ in range(draw.randrange(1, 6)))]
        shop.write(name, *files[name])
        if day % 4 == 3:
            gone = draw.choice([other for other in files if other != name])
            shop.file(gone).unlink()
            del files[gone]
        shop.fetch()
