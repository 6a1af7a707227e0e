"""Promotions: what is read, what is refused, and that training and serving see the same."""

import csv
import datetime as dt
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import shops
from conftest import Place

from ml.serving.live import Live, Request, Scored
from ml.settings import Settings
from ml.sources import SourceError, land
from ml.warehouse import connection
from ml.warehouse.feature_list import has_landed

HEADER = ("product_id", "from", "to", "store_id", "kind")


def write(raw: Path, rows: Iterable[Sequence[object]], header: Sequence[str] = HEADER) -> Path:
    shops.write(raw, shops.small(3))
    with (raw / "promotions.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([header, *rows])
    return raw


def rows(landing: Path) -> list[tuple[object, ...]]:
    with duckdb.connect() as con:
        return con.execute(f"from '{landing}/promotions.parquet' order by all").fetchall()


@pytest.fixture
def landing(tmp_path: Path) -> Path:
    return tmp_path / "restock.landing"


def test_promotions_land_with_their_days_stores_and_kinds(tmp_path: Path, landing: Path) -> None:
    raw = write(
        tmp_path / "raw",
        [(1, "2023-01-02", "2023-01-08", "s1", " Mailer"), (2, "20230102", "2030-01-01", "", "")],
    )
    intake = land("order_log", raw, landing)
    assert rows(landing) == [
        (1, dt.date(2023, 1, 2), dt.date(2023, 1, 8), "s1", "mailer"),
        (2, dt.date(2023, 1, 2), dt.date(2030, 1, 1), None, None),
    ]
    assert ("promotions.csv", 2) in [(file.name, file.rows) for file in intake.files]
    assert not [note for note in intake.notes if "promotions" in note]


def test_parquet_needs_only_products_and_days(tmp_path: Path, landing: Path) -> None:
    raw = shops.write(tmp_path / "raw", shops.small(3))
    row = {"product_id": 7, "from": dt.date(2023, 1, 2), "to": dt.date(2023, 1, 3)}
    pq.write_table(pa.Table.from_pylist([row]), raw / "promotions.parquet")
    notes = land("order_log", raw, landing).notes
    assert rows(landing) == [(7, dt.date(2023, 1, 2), dt.date(2023, 1, 3), None, None)]
    assert [note for note in notes if "The promotions in promotions.parquet end on 2023" in note]


def test_without_a_file_no_promotions_land(tmp_path: Path, landing: Path) -> None:
    settings = replace(Settings.load(), warehouse=tmp_path / "restock")
    raw = shops.write(tmp_path / "raw", shops.small(3))
    intake = land("order_log", raw, settings.landing)
    assert rows(settings.landing) == [] and not has_landed(settings, "promotions")
    assert [file.name for file in intake.files] == ["order_lines.csv"]


@pytest.mark.parametrize(
    ("row", "header", "said"),
    [
        ((1, "2023-01-09", "2023-01-02", 1, ""), HEADER, 'line 2, column to .*"2023-01-02" is b'),
        ((1, "03/04/2023", "2023-05-02", 1, ""), HEADER, 'column from .*"03/04/2023" is not a'),
        ((1, "2023-01-09", "", 1, ""), HEADER, "column to .*an empty value is not a date"),
        (("", "2023-01-09", "2023-01-10", 1, ""), HEADER, "column product_id: an empty value"),
        ((1, "2023-01-09"), ("product_id", "from"), "column to .*the column is missing"),
    ],
)
def test_wrong_promotions_are_refused(
    tmp_path: Path, landing: Path, row: Sequence[object], header: Sequence[str], said: str
) -> None:
    with pytest.raises(SourceError, match=said):
        land("order_log", write(tmp_path / "raw", [row], header), landing)


@pytest.mark.slow
def test_live_scores_know_what_is_on_offer_on_the_day_asked_for(place: Place) -> None:
    """The features of a live score are those of the batch, and those of another day differ."""
    raw = shops.write(place.folder / "raw", shops.small(20))
    newest = max(at for _, _, at, _ in shops.small(20)).date()
    with (raw / "promotions.csv").open("w", newline="", encoding="utf-8") as file:
        out = csv.writer(file)
        out.writerow(HEADER)
        for week in range(-20, 3):
            first, last = (newest + dt.timedelta(days=7 * week + day) for day in (0, 6))
            out.writerows((week % 40 + 1, first, last, store, "mailer") for store in range(3))
            out.writerow((week % 7 + 1, first, last, 0, "display"))
    options = ("--source", "order_log", "--raw-dir", raw)
    for step in ("build", "train", "score"):
        place.restock(step, *options)
    settings = Settings.load(warehouse=place.warehouse)
    live = Live(settings, place.model.resolve().name)
    names = [feature.name for feature in live.features]
    at = names.index("context_mailer_count")
    with connection.connect(settings, read_only=True) as con:
        batch = con.execute(
            "select user_id, context_mailer_count from examples where cutoff = 0 "
            "order by user_id, product_id"
        ).fetchall()
    users = sorted({user for user, _ in batch})
    now = live.score([Request(user) for user in users])
    assert [
        (user, value)
        for user, scored in zip(users, now, strict=True)
        if isinstance(scored, Scored)
        for value in scored.X[:, at]
    ] == batch
    assert {count for _, count in batch} == {0, 3}
    later = newest + dt.timedelta(days=8)
    (one,), (other,) = (live.score([Request(users[0], day=(day, None))]) for day in (None, later))
    assert isinstance(one, Scored) and isinstance(other, Scored)
    assert list(one.X[:, at]) != list(other.X[:, at])
    live.close()
