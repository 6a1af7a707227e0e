"""The event log is read like the order lines: strictly, with what does not count counted."""

import csv
import shutil
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import Place

from ml.errors import SettingsError
from ml.reading import EVENT_COLUMNS, Reading
from ml.settings import PROJECT, Settings
from ml.sources import (
    Intake,
    SourceError,
    delivery,
    event_selection,
    event_types,
    events,
    land,
    landed_events,
    lines_after,
    with_source,
)

pytestmark = pytest.mark.slow

Rows = Sequence[Sequence[Any]]
HEADER = ("user_id", "occurred_at", "event_type", "product_id")
VIEWS = (
    (1, "2024-03-04 09:00:00", "view", 5),
    (1, "2024-03-04 09:05:00", "cart", 5),
    (2, "2024-03-05 20:00:30", "search", ""),
)
BOUGHT = ((1, "2024-03-04 09:10:00", "purchase", 5),)
ORDERS = ((1, 11, "2024-03-04 09:10:00", 5), (2, 12, "2024-03-06 10:00:00", 6))


def write(path: Path, rows: Iterable[Sequence[Any]], header: Sequence[str] = HEADER) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([header, *rows])


def write_orders(folder: Path, rows: Rows = ORDERS) -> None:
    write(folder / "order_lines.csv", rows, ("user_id", "order_id", "ordered_at", "product_id"))


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    """A folder with two orders."""
    write_orders(tmp_path / "raw")
    return tmp_path / "raw"


def take(raw: Path, reading: Reading | None = None) -> Intake:
    return land("order_log", raw, raw.parent / "landing", reading=reading)


def landed_table(raw: Path) -> pa.Table:
    with duckdb.connect() as con:
        return con.sql(landed_events(raw.parent / "landing")).to_arrow_table()


def landed(raw: Path, table: str = "events") -> list[dict[str, Any]]:
    if table == "events":
        return landed_table(raw).to_pylist()
    return pq.read_table(raw.parent / "landing" / f"{table}.parquet").to_pylist()


def read(raw: Path, rows: Rows, header: Sequence[str] = HEADER, **reading: Any) -> list[Any]:
    write(raw / "events.csv", rows, header)
    take(raw, Reading(**reading))
    return landed(raw)


def rejected(raw: Path, rows: Rows, header: Sequence[str] = HEADER, **reading: Any) -> SourceError:
    write(raw / "events.csv", rows, header)
    with pytest.raises(SourceError) as caught:
        take(raw, Reading(**reading))
    assert str(caught.value).endswith(".")
    return caught.value


def note(intake: Intake, part: str) -> str:
    (found,) = [text for text in intake.notes if part in text]
    return found


def left_out(intake: Intake) -> dict[str, int]:
    (file,) = [file for file in intake.files if file.table == "events"]
    return file.left_out


# --- what lands -----------------------------------------------------------------------------------

FULL = (*HEADER, "event_id", "session_id", "value", "received_at")
ALL_TYPES = {
    "user_id": pa.int64(),
    "event_id": pa.string(),
    "occurred_at": pa.timestamp("us"),
    "known_at": pa.timestamp("us"),
    "event_type": pa.string(),
    "product_id": pa.int64(),
    "session_id": pa.string(),
    "value": pa.float64(),
}


def test_every_column_lands(raw: Path) -> None:
    row = (1, "2024-03-04 09:00:00", "view", 5, "e1", "s1", "2.50", "2024-03-04 09:00:01.5")
    empty = (2, "2024-03-04T09:00", "search", "", "", "", "", "")
    first, second = read(raw, [row, empty], FULL)
    assert first == {
        "user_id": 1,
        "event_id": "e1",
        "occurred_at": datetime(2024, 3, 4, 9),
        "known_at": datetime(2024, 3, 4, 9, 0, 1, 500_000),
        "event_type": "view",
        "product_id": 5,
        "session_id": "s1",
        "value": 2.5,
    }
    assert second == {
        **dict.fromkeys(first),
        "user_id": 2,
        "occurred_at": datetime(2024, 3, 4, 9),
        "known_at": datetime(2024, 3, 4, 9),
        "event_type": "search",
    }
    schema = landed_table(raw).schema
    assert dict(zip(schema.names, schema.types, strict=True)) == ALL_TYPES


def test_without_events_an_empty_table_of_the_same_types_lands(raw: Path) -> None:
    take(raw)
    schema = landed_table(raw).schema
    assert dict(zip(schema.names, schema.types, strict=True)) == ALL_TYPES
    assert landed(raw) == []


def as_parquet(table: pa.Table) -> Callable[[Path], None]:
    return lambda raw: pq.write_table(table, raw / "events.parquet")


def test_parquet_and_csv_land_alike(raw: Path, tmp_path: Path) -> None:
    rows = [
        (1, "2024-03-04 09:00:00", "view", 5, "e1", "s1", 2.5, "2024-03-04 09:00:01"),
        (2, "2024-03-04 10:00:00", "search", None, None, None, None, None),
        (2, "2024-03-04 10:00:00", "ignore", None, None, None, None, None),
        (1, "2024-03-04 09:30:00", "cart", 5, "e1", "s1", 2.5, "2024-03-05 09:00:01"),
    ]
    expected = read(raw, rows, FULL)
    assert len(expected) == 2
    (raw / "events.csv").unlink()
    columns = list(zip(*rows, strict=True))
    texts = pa.table(
        {
            name: pa.array([None if v is None else str(v) for v in values])
            for name, values in zip(FULL, columns, strict=True)
        }
    )
    moments = {
        name: pa.array(
            [v and datetime.fromisoformat(v) for v in values], type=pa.timestamp("us", zone)
        )
        for zone in (None, "UTC")
        for name, values in zip(FULL, columns, strict=True)
        if name in ("occurred_at", "received_at")
    }
    native = {
        "user_id": pa.array(columns[0], pa.uint16()),
        "occurred_at": moments["occurred_at"],
        "event_type": pa.array(columns[2]).dictionary_encode(),
        "product_id": pa.array(columns[3], pa.int32()),
        "event_id": pa.array(columns[4]),
        "session_id": pa.array(columns[5]),
        "value": pa.array(columns[6], pa.float32()),
        "received_at": moments["received_at"],
    }
    for table in (pa.table(native), texts.set_column(0, "user_id", native["user_id"])):
        pq.write_table(table, raw / "events.parquet")
        intake = take(raw)
        # Text in a Parquet file stays text.
        ids = {"product_id": str} if table is not pa.table(native) else {}
        found = [row | {n: row[n] and int(row[n]) for n in ids} for row in landed(raw)]
        assert found == expected
        assert left_out(intake) == {"of an ignored type": 1, "that are doubles": 1}


@pytest.mark.parametrize(
    "names",
    [
        ["events.csv"],
        ["events/2024-03-04.csv", "events/2024-03-05.csv", "events/2024-03-06.csv"],
        ["events_2024-03-04.csv", "events_2024-03-05.csv", "events_2024-03-06.csv"],
        ["Events-1.CSV", "Events-2.CSV", "Events-3.CSV"],
    ],
)
def test_a_log_may_be_in_daily_files(raw: Path, names: list[str]) -> None:
    for number, name in enumerate(names):
        write(raw / name, VIEWS[number :: len(names)])
    intake = take(raw)
    assert sorted(row["event_type"] for row in landed(raw)) == ["cart", "search", "view"]
    assert set(landed(raw)[0]) == set(ALL_TYPES)
    assert [file.rows for file in intake.files if file.table == "events"] in ([3], [1, 1, 1])


@pytest.mark.parametrize("suffix", [".parquet", ".csv"])
def test_a_fault_in_a_part_is_located(raw: Path, suffix: str) -> None:
    rows = [[str(value) for value in row] for row in VIEWS]
    for day in (1, 2):
        path = raw / f"events_{day}{suffix}"
        bad = [*rows, ["3", "2024-03-04 09:00", "view", "7 "]] if day == 2 else rows
        if suffix == ".csv":
            write(path, bad)
        else:
            pq.write_table(
                pa.table(dict(zip(HEADER, map(list, zip(*bad, strict=True)), strict=True))), path
            )
    with pytest.raises(SourceError) as caught:
        take(raw)
    place = caught.value.file, caught.value.line, caught.value.column
    assert place == (f"events_2{suffix}", 5 if suffix == ".csv" else 4, "product_id")


def test_ids_have_the_type_that_fits_all_files(raw: Path) -> None:
    read(raw, [("a-1", *VIEWS[0][1:]), *VIEWS[1:]])
    assert {type(row["user_id"]) for row in landed(raw)} == {str}
    assert {type(row["user_id"]) for row in landed(raw, "order_lines")} == {str}
    assert {type(row["product_id"]) for row in landed(raw)} <= {int, type(None)}


def test_a_columns_table_maps_the_events(raw: Path) -> None:
    toml = {
        "user_id": "visitorid",
        "occurred_at": {"name": "timestamp", "format": "epoch_ms"},
        "event_type": "event",
        "product_id": "itemid",
    }
    header = ("timestamp", "visitorid", "event", "itemid", "transactionid")
    write(raw / "rocket.csv", [("1709542800000", 1, "addtocart", 5, "")], header)
    take(raw, Reading.from_toml({"events": "rocket*.csv"}, {}, toml))
    (row,) = landed(raw)
    assert (row["occurred_at"], row["event_type"]) == (datetime(2024, 3, 4, 9), "cart")
    with pytest.raises(ValueError, match=r"\[events\]: unknown key 'order_id': use user_id"):
        Reading.from_toml({}, {}, {"order_id": "x"})


def test_every_column_can_be_mapped() -> None:
    assert set(EVENT_COLUMNS) == {*events.COLUMNS[0], *events.COLUMNS[1]}


def test_a_missing_column_is_offered_for_the_events_table(raw: Path) -> None:
    error = rejected(
        raw, [("1", "2024-03-04 09:00", "view")], ("visitor_id", "event_time", "event_name")
    )
    for entry in (
        'user_id = "visitor_id"',
        'occurred_at = "event_time"',
        'event_type = "event_name"',
        "under [events]",
    ):
        assert entry in str(error)


# --- types of events ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "type_"),
    [
        ("view_item", "view"),
        ("add_to_cart", "cart"),
        ("begin_checkout", "checkout"),
        ("Product Viewed", "view"),
        ("product_added", "cart"),
        ("Checkout Started", "checkout"),
        ("Products Searched", "search"),
        ("remove_from_cart", "remove"),
        ("addtocart", "cart"),
        ("pv", "view"),
        ("VIEW", "view"),
        ("addToCart", "cart"),
    ],
)
def test_names_of_known_programs_have_a_type(raw: Path, name: str, type_: str) -> None:
    ((row),) = read(raw, [(1, "2024-03-04 09:00:00", name, 5)])
    assert row["event_type"] == type_


def test_the_seed_has_no_name_twice() -> None:
    with (PROJECT / "seeds" / "event_types.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    names = [event_types._key(row["event_name"]) for row in rows]
    assert len(names) == len(set(names))
    assert {row["event_type"] for row in rows} == {*event_types.TYPES, event_types.IGNORE}


def test_unknown_names_are_one_error(raw: Path) -> None:
    times = [f"2024-03-04 09:{minute:02}:00" for minute in range(60)]
    rows = [(1, at, "Product Vewed", 5) for at in times[:30]]
    rows += [(1, at, f"odd {n}", 5) for n, at in enumerate(times[30:50])]
    rows += [(1, at, "view", 5) for at in times[50:]]
    error = rejected(raw, rows)
    assert "21 names of events are unknown, in 50 of 60 events" in str(error)
    assert '"Product Vewed" (30, like product_viewed: view)' in str(error)
    assert str(error).count('"odd ') == 9
    assert error.column == "event_type"


def test_a_file_of_the_user_adds_types(raw: Path) -> None:
    rows = [(1, "2024-03-04 09:00:00", name, 5) for name in ("Sniff", "cart", "fav", "boo")]
    own = raw / "event_types.csv"
    write(own, [("sniff", "view"), ("fav", "cart"), ("*", "ignore")], ("event_name", "event_type"))
    write(raw / "events.csv", rows)
    intake = take(raw)
    assert [row["event_type"] for row in landed(raw)] == ["view", "cart"]
    assert left_out(intake) == {"of an ignored type": 1, "that are doubles": 1}
    for bad, line in (
        ([("sniff", "view"), ("boo", "nothing")], 3),
        ([("sniff", "view"), ("SNIFF", "cart")], 3),
        ([("", "view")], 2),
    ):
        write(own, bad, ("event_name", "event_type"))
        error = rejected(raw, rows)
        assert (error.file, error.line) == ("event_types.csv", line)


# --- times ----------------------------------------------------------------------------------------


def at(raw: Path, occurred: str, received: str = "", **reading: Any) -> tuple[datetime, datetime]:
    header = ("user_id", "occurred_at", "event_type", "received_at")
    (row,) = read(raw, [(1, occurred, "view", received)], header, **reading)
    return row["occurred_at"], row["known_at"]


def test_an_event_is_known_once_it_was_received(raw: Path) -> None:
    early, late = datetime(2024, 3, 4, 9), datetime(2024, 3, 5, 9)
    assert at(raw, "2024-03-04 09:00:00") == (early, early)
    assert at(raw, "2024-03-04 09:00:00", "2024-03-05 09:00:00") == (early, late)
    # The clock of a telephone may be ahead.
    assert at(raw, "2024-03-05 09:00:00", "2024-03-04 09:00:00") == (late, late)


def test_an_offset_keeps_the_local_clock(raw: Path) -> None:
    local = datetime(2024, 3, 4, 20, 5)
    assert at(raw, "2024-03-04T20:05:00-05:00") == (local, local)
    # Received in UTC, ten minutes later.
    received = at(raw, "2024-03-04T20:05:00-05:00", "2024-03-05T01:15:00Z")
    assert received == (local, local + timedelta(minutes=10))


def test_a_log_lands_alike_on_every_clock(tmp_path: Path) -> None:
    """In local time, with the shop's offset, and in UTC with the shop's time zone."""
    header = (*HEADER, "received_at")
    fingerprints = set()
    for name, hours, suffix, timezone in (
        ("local", 0, "", ""),
        ("offset", 0, "-08:00", ""),
        ("utc", 8, "Z", "America/Los_Angeles"),
    ):
        raw = tmp_path / name / "raw"

        def at(text: str, hours: int = hours, suffix: str = suffix) -> str:
            moved = datetime.fromisoformat(text) + timedelta(hours=hours)
            return f"{moved.isoformat()}{suffix}"

        # Before March 10, when the clocks in Los Angeles go forward.
        orders = [(user, order, at(time), product) for user, order, time, product in ORDERS]
        events = [(user, at(time), *rest, at("2024-03-06T17:00:00")) for user, time, *rest in VIEWS]
        write_orders(raw, orders)
        write(raw / "events.csv", events, header)
        fingerprints.add(take(raw, Reading(timezone=timezone)).fingerprint)
    assert len(fingerprints) == 1


def test_utc_is_converted_to_the_clock_of_the_shop(raw: Path) -> None:
    local, zone = datetime(2024, 3, 4, 20, 5), "America/New_York"
    times = "2024-03-05T01:05:00Z", "2024-03-05T01:15:00Z"
    assert at(raw, *times, timezone=zone) == (local, local + timedelta(minutes=10))
    (raw / "events.csv").unlink()
    moments = [
        pa.array([datetime.fromisoformat(time)], pa.timestamp("us", "UTC")) for time in times
    ]
    table = pa.table(
        {
            "user_id": [1],
            "occurred_at": moments[0],
            "event_type": ["view"],
            "received_at": moments[1],
        }
    )
    pq.write_table(table, raw / "events.parquet")
    take(raw, Reading(timezone=zone))
    assert [row["known_at"] for row in landed(raw)] == [local + timedelta(minutes=10)]


FUTURE = f"{(datetime.now(UTC) + timedelta(days=3)):%Y-%m-%d} 12:00:00"


@pytest.mark.parametrize(
    ("occurred", "received", "part"),
    [
        ("2024-03-04", "", "is a date without a time of day"),
        ("03/04/2024 10:00", "", "has two meanings"),
        ("1709542800", "", "looks like seconds since 1970"),
        ("soon", "", "is not a time"),
        ("", "", "an empty value is not a time"),
        ("2024-03-04 25:00", "", "there is no hour 25"),
        ("2024-03-04 09:00Z", "", "has no UTC offset"),
        ("1066-03-04 09:00", "", "1066"),
        (FUTURE, "", "is ahead of today"),
        ("2024-03-04 09:00", "later", "is not a time"),
        ("2024-03-04 09:00", "2024-03-04", "is a date without a time of day"),
        ("2024-03-04 09:00", FUTURE, "is ahead of today"),
        ("2024-03-04 09:00", "2024-03-04 10:00Z", "has no UTC offset"),
    ],
)
def test_a_wrong_time_names_line_and_column(
    raw: Path, occurred: str, received: str, part: str
) -> None:
    header = ("user_id", "occurred_at", "event_type", "received_at")
    good = (1, "2024-03-04 09:00:00", "view", "2024-03-04 09:00:00")
    error = rejected(raw, [good, (1, occurred, "view", received), good], header)
    assert part in str(error)
    assert error.file == "events.csv"
    # Without an offset are the others.
    assert error.line == (2 if "no UTC" in part else 3)
    assert error.column == ("received_at" if received else "occurred_at")


def test_both_times_have_offsets_or_none(raw: Path) -> None:
    header = ("user_id", "occurred_at", "event_type", "received_at")
    row = (1, "2024-03-04 09:00", "view", "2024-03-04 10:00Z")
    assert "Add an offset to both" in str(rejected(raw, [row], header))


def test_midnights_alone_are_dates(raw: Path) -> None:
    rows = [(1, f"2024-03-0{day} 00:00:00", "view", 5) for day in (1, 2)]
    assert "all 2 times are midnight" in str(rejected(raw, rows))


def test_events_years_from_the_rest_are_refused(raw: Path) -> None:
    rows = [(1, f"2024-03-04 09:{minute:02}:00", "view", 5) for minute in range(60)]
    rows.append((1, "1999-01-01 09:00:00", "view", 5))
    error = rejected(raw, rows)
    assert error.line == 62
    assert "25 years without any event lie between" in str(error)
    assert len(read(raw, rows, allow_gap=True)) == 61


# --- values ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "column"),
    [
        ({"user_id": ""}, "user_id"),
        ({"user_id": "nan"}, "user_id"),
        ({"user_id": " 7"}, "user_id"),
        ({"product_id": "5.90E+12"}, "product_id"),
        ({"product_id": "#N/A"}, "product_id"),
        ({"event_type": ""}, "event_type"),
        ({"value": "12,50"}, "value"),
        ({"value": "inf"}, "value"),
    ],
)
def test_a_wrong_value_names_line_and_column(
    raw: Path, change: dict[str, str], column: str
) -> None:
    header = (*HEADER, "value")
    good = dict(zip(header, (1, "2024-03-04 09:00:00", "view", 5, 1.5), strict=True))
    error = rejected(raw, [list(good.values()), list((good | change).values())], header)
    assert (error.file, error.line, error.column) == ("events.csv", 3, column)


def test_a_word_for_a_missing_value_is_no_value(raw: Path) -> None:
    header = (*HEADER, "value")
    rows = [(*VIEWS[0], "nan"), (*VIEWS[1], "1e2"), (*VIEWS[2], "-.5")]
    assert [row["value"] for row in read(raw, rows, header)] == [None, 100.0, -0.5]


def test_shoppers_are_skipped_as_in_the_orders(raw: Path) -> None:
    rows = [*VIEWS, ("", "2024-03-04 09:00:00", "view", 5), (9, "2024-03-04 09:00:00", "view", 5)]
    write(raw / "events.csv", rows)
    intake = take(raw, Reading(skip_missing_shoppers=True, skip_shoppers=("9",)))
    assert {row["user_id"] for row in landed(raw)} == {1, 2}
    assert left_out(intake) == {"without a shopper": 1, "of a skipped shopper": 1}
    assert note(intake, "Left out").startswith("Left out 2 of 5 events: ")


# --- doubles --------------------------------------------------------------------------------------


def test_of_events_with_one_id_the_first_received_counts(raw: Path) -> None:
    header = ("user_id", "occurred_at", "event_type", "event_id", "received_at")
    rows = [
        (1, "2024-03-04 09:00:00", "view", "a", "2024-03-05 09:00:00"),
        (1, "2024-03-04 09:00:00", "view", "a", "2024-03-04 09:00:00"),
        (1, "2024-03-04 09:00:00", "view", "b", "2024-03-04 09:00:00"),
        (1, "2024-03-04 09:00:00", "view", "", "2024-03-04 09:00:00"),
        (1, "2024-03-04 09:00:00", "view", "", "2024-03-04 09:00:00"),
        (1, "2024-03-04 09:00:01", "view", "", "2024-03-04 09:00:01"),
    ]
    found = read(raw, rows, header)
    assert [(row["event_id"], row["known_at"].day) for row in found] == [
        ("a", 4),
        ("b", 4),
        (None, 4),
        (None, 4),
    ]


def test_without_ids_rows_alike_in_every_column_are_one(
    raw: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(event_selection, "_SLICE_ROWS", 2)
    write(raw / "events.csv", [*VIEWS, *VIEWS, (*VIEWS[0][:3], 6), *VIEWS])
    intake = take(raw)
    assert len(landed(raw)) == 4
    assert left_out(intake) == {"that are doubles": 6}
    once = intake.fingerprint
    write(raw / "events.csv", [*VIEWS, (*VIEWS[0][:3], 6)])
    assert take(raw).fingerprint == once


def test_an_event_id_that_is_none_is_told(raw: Path) -> None:
    header = ("user_id", "occurred_at", "event_type", "event_id")
    rows = [(user, f"2024-03-04 09:0{user}:00", "view", "s1") for user in (1, 2)]
    write(raw / "events.csv", rows, header)
    assert "Check that event_id is the id of the event" in note(take(raw), "event ids")


# --- notes ----------------------------------------------------------------------------------------


def test_an_id_with_very_many_events_is_named(raw: Path) -> None:
    rows = [(user, f"2024-03-04 09:{user:02}:00", "view", 5) for user in range(50)]
    rows += [
        (99, f"2024-03-05 {hour:02}:{m:02}:00", "view", 5) for hour in (9, 10) for m in range(40)
    ]
    write(raw / "events.csv", rows)
    found = note(take(raw), "very many")
    assert '"99" (80, 62%)' in found
    assert 'skip_shoppers = ["99"]' in found


def test_late_events_are_counted(raw: Path) -> None:
    header = ("user_id", "occurred_at", "event_type", "received_at")
    rows = [
        (1, "2024-03-04 23:59:59", "view", "2024-03-05 00:00:00"),
        (1, "2024-03-04 12:00:00", "view", "2024-03-06 12:00:00"),
        (1, "2024-03-04 12:00:00", "cart", "2024-03-04 23:59:59"),
    ]
    write(raw / "events.csv", rows, header)
    found = note(take(raw), "received on a later day")
    assert found.startswith("2 events were received on a later day, up to 2.0 days late.")


def test_purchases_come_from_the_orders(raw: Path) -> None:
    alone = (2, "2024-03-04 09:00:00", "purchase", 5)
    write(raw / "events.csv", [*VIEWS, *BOUGHT, alone])
    intake = take(raw)
    assert {row["event_type"] for row in landed(raw)} == {"view", "cart", "search"}
    assert left_out(intake) == {"of purchases, which come from the orders": 2}
    assert note(intake, "within a day").startswith("1 of 2 purchase events have no order")


def test_orders_and_events_on_two_clocks_are_told(raw: Path) -> None:
    write(raw / "events.csv", [*VIEWS, (1, "2024-03-04 14:10:05", "purchase", 5)])
    assert "1 of 1 orders are 5 hours before their purchase event" in note(take(raw), "hours")


def test_ids_that_no_order_has_are_told(raw: Path) -> None:
    write(raw / "events.csv", [("u1", *row[1:]) for row in VIEWS])
    assert 'look like "u1"' in note(take(raw), "No shopper of the events")


@pytest.mark.parametrize("name", ["users.csv", "Customers.parquet", "users.csv.gz"])
def test_attributes_of_shoppers_are_not_read(raw: Path, name: str) -> None:
    """An attribute without a time, such as the last login, can know the future."""
    without = take(raw)
    write(raw / name, [(1, "2024-03-07")], ("user_id", "last_login_at"))
    intake = land("order_log", raw, raw.parent / "again")
    assert note(intake, "is not read").startswith(f"{name} is not read: ")
    assert intake.fingerprint == without.fingerprint


# --- events alone ---------------------------------------------------------------------------------


@pytest.fixture
def alone(tmp_path: Path) -> Path:
    """A folder without orders."""
    return tmp_path / "raw"


def test_orders_are_made_from_the_purchases(alone: Path) -> None:
    header = (*HEADER, "value", "received_at")
    rows = [
        (1, "2024-03-04 09:10:00", "purchase", 5, 2.5, "2024-03-06 09:10:00"),
        (1, "2024-03-04 09:10:59", "purchase", 6, "", ""),
        (1, "2024-03-04 09:12:00", "purchase", 5, "", ""),
        (2, "2024-03-04 09:12:00", "purchase", "", "", ""),
        (2, "2024-03-04 09:12:00", "view", 5, "", ""),
    ]
    write(alone / "events.csv", rows, header)
    intake = take(alone)
    assert [
        (row["order_id"], row["ordered_at"], row["product_id"], row["sales_value"])
        for row in landed(alone, "order_lines")
    ] == [
        ("1-20240304T091000", datetime(2024, 3, 4, 9, 10), 5, 2.5),
        ("1-20240304T091000", datetime(2024, 3, 4, 9, 10), 6, None),
        ("1-20240304T091200", datetime(2024, 3, 4, 9, 12), 5, None),
    ]
    # The purchases stay in the log, with the time when they became known.
    assert sorted(row["event_type"] for row in landed(alone)) == ["purchase"] * 4 + ["view"]
    assert "1 of 4 purchase events have no product_id" in note(intake, "no product_id")
    assert [file.table for file in intake.files] == ["events"]
    assert delivery(alone.parent / "landing").line_count == 3
    assert lines_after(alone.parent / "landing", datetime(2024, 3, 3).date()) == {}


def test_order_lines_made_from_events_have_the_columns_of_others(raw: Path, alone: Path) -> None:
    take(raw)
    schemas = [pq.read_schema(raw.parent / "landing" / "order_lines.parquet")]
    shutil.rmtree(raw)
    write(alone / "events.csv", [*VIEWS, *BOUGHT])
    take(alone)
    schemas.append(pq.read_schema(raw.parent / "landing" / "order_lines.parquet"))
    assert schemas[0].names == schemas[1].names
    assert [
        t for n, t in zip(schemas[0].names, schemas[0].types, strict=True) if n != "order_id"
    ] == [t for n, t in zip(schemas[1].names, schemas[1].types, strict=True) if n != "order_id"]


def test_events_without_a_purchase_need_orders(alone: Path) -> None:
    error = rejected(alone, VIEWS)
    assert "no event is a purchase, and there is no order_lines file" in str(error)


def test_a_folder_with_neither_says_so(alone: Path) -> None:
    write(alone / "products.csv", [(5, "Tea")], ("product_id", "product_name"))
    with pytest.raises(SourceError, match=r"order_lines\.parquet or order_lines\.csv"):
        take(alone)


def test_products_are_compared_with_the_purchases(alone: Path) -> None:
    write(alone / "events.csv", [*VIEWS, *BOUGHT])
    write(alone / "products.csv", [(7, "Tea")], ("product_id", "product_name"))
    with pytest.raises(SourceError, match=r"no product_id of events\.csv is in this file"):
        take(alone)


@pytest.mark.parametrize("name", ["events.csv", "events/2024.csv", "events_1.parquet"])
def test_events_show_the_source(tmp_path: Path, name: str) -> None:
    path = tmp_path / "raw" / name
    path.parent.mkdir(parents=True)
    path.touch()
    settings = Settings.load(raw_dir=tmp_path / "raw")
    assert with_source(settings).source == "order_log"
    (tmp_path / "raw" / "order_products__prior.csv").touch()
    assert with_source(settings).source == "instacart"
    (tmp_path / "raw" / "order_lines.csv").touch()
    with pytest.raises(SettingsError, match="two sources"):
        with_source(settings)


# --- through the command line ---------------------------------------------------------------------


def test_a_simulated_shop_has_features_of_events(tmp_path: Path) -> None:
    place = Place(tmp_path)
    raw = tmp_path / "raw"
    place.restock("simulate", "--events", "--shoppers", "400", "--days", "60", "--out", raw)
    simulated = pq.read_metadata(raw / "events.parquet").num_rows
    (raw / "true_probabilities.parquet").unlink()
    place.restock("build", "--raw-dir", raw)
    reasons = dict(
        place.query(
            "select reason, sum(line_count) from ml.left_out where file_name = 'events.parquet' "
            "group by all"
        )
    )
    assert set(reasons) == {"that are doubles", "of purchases, which come from the orders"}
    rows = place.query("select count(*) from fct_events where event_type <> 'purchase'")
    assert rows == [(simulated - sum(reasons.values()),)]
    ((purchases, orders),) = place.query(
        "select (select count(*) from fct_events where event_type = 'purchase'), "
        "(select count(*) from fct_orders)"
    )
    assert purchases == orders
    features = place.query(
        "select count(*), count(hours_since_view), count(hours_since_checkout), "
        "sum(view_7_days_count) from purchase_examples where cutoff = 1"
    )[0]
    assert all(count > 0 for count in features), features
    # Without the orders, the purchases of the log give the same labels.
    labels = "select cutoff_at, user_id, label from purchase_examples order by all"
    before = place.query(labels)
    assert {label for *_, label in before} == {True, False, None}
    (raw / "order_lines.parquet").unlink()
    place.restock("build", "--raw-dir", raw, "--accept-drop")
    assert place.query(labels) == before
    assert place.query("select count(*) from fct_orders") == [(0,)]


def test_events_alone_are_enough(tmp_path: Path) -> None:
    """With products, purchases make orders; the test above has events without."""
    place = Place(tmp_path)
    raw = tmp_path / "raw"
    rows = [
        (user, f"2024-{month:02}-{1 + user:02} 1{user % 9}:00:00", kind, "tea")
        for user in range(1, 25)
        for month in range(1, 7)
        for kind in ("view", "purchase")
    ]
    write(raw / "events.csv", rows)
    place.restock("build", "--raw-dir", raw)
    assert place.query("select count(*) from fct_orders") == [(len(rows) // 2,)]
    assert place.query("select count(*) from fct_events") == [(len(rows),)]
    labels = place.query("select label, count(*) > 0 from purchase_examples group by all")
    assert dict(labels) == {True: True, False: True, None: True}
