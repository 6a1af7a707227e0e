"""What is wrong in an order log is told, through the real command line."""

import json
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import Place
from fuzz_sources import write_large_instacart
from shop import HEADER, Line, shop, write, write_lines

from ml.sources import SourceError, fetch, land

pytestmark = pytest.mark.slow

LINES = shop()
ORDERS = len({line.order for line in LINES})


def fetched(place: Place, raw: Path, reading: str = "", **variables: str) -> dict[str, Any]:
    """Run `restock fetch` on an order log with this [reading]; return its summary."""
    arguments = ("fetch", "--source", "order_log", "--raw-dir", raw)
    return place.restock(*arguments, **home(place, reading), **variables)["fetch"]


def home(place: Place, reading: str) -> dict[str, str]:
    place.folder.mkdir(exist_ok=True)
    place.folder.joinpath("restock.toml").write_text(f"[reading]\n{reading}\n")
    return {"RESTOCK_HOME": str(place.folder)}


def refused(place: Place, raw: Path, reading: str = "", code: int = 3, **variables: str) -> str:
    """Run a `restock fetch` that must fail with this exit code; return its message."""
    arguments = ("fetch", "--source", "order_log", "--raw-dir", raw, "--json")
    done = place.call("restock", *arguments, **home(place, reading), **variables)
    assert done.returncode == code, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    assert not Path(f"{place.warehouse}.landing").exists()
    return json.loads(done.stdout)["error"]


def landed(place: Place, select: str) -> list[tuple[Any, ...]]:
    return duckdb.execute(
        f"select {select} from '{place.warehouse}.landing/order_lines.parquet'"
    ).fetchall()


def times(place: Place) -> list[datetime]:
    return [at for (at,) in landed(place, "ordered_at")]


# --- the clock ------------------------------------------------------------------------------------


def evening(line: Line) -> Line:
    return line._replace(at=line.at.replace(hour=20 + int(line.order) % 3))


EVENINGS = [evening(line) for line in LINES]


def with_offset(line: Line, offset: str) -> tuple[str, ...]:
    return line.user, line.order, line.at.isoformat(" ") + offset, line.product


def test_times_with_an_offset_keep_their_local_clock(place: Place) -> None:
    raw = write(place.folder / "raw", [with_offset(line, "-05:00") for line in EVENINGS])
    assert fetched(place, raw)["notes"] == []
    assert times(place) == [line.at for line in EVENINGS]


def test_summer_and_winter_offsets_keep_the_hour(place: Place) -> None:
    """A habit of 20 o'clock stays at 20 o'clock. London writes +00:00 in winter."""
    lines = [line._replace(at=line.at.replace(hour=20)) for line in LINES]
    rows = [with_offset(line, "+01:00" if 4 <= line.at.month <= 9 else "+00:00") for line in lines]
    summary = fetched(place, write(place.folder / "raw", rows), RESTOCK_TIMEZONE="Asia/Tokyo")
    assert times(place) == [line.at for line in lines]
    assert summary["notes"] == [
        "RESTOCK_TIMEZONE (Asia/Tokyo) is not used: the times in order_lines.csv are local times."
    ]


UTC_WRITINGS = ["zoned parquet", "Z", "+00:00"]


def write_utc(folder: Path, writing: str) -> Path:
    if writing != "zoned parquet":
        return write(folder, [with_offset(line, writing) for line in EVENINGS])
    folder.mkdir()
    columns = list(zip(*EVENINGS, strict=True))
    at = pa.array([line.at.replace(tzinfo=UTC) for line in EVENINGS], pa.timestamp("us", "UTC"))
    table = pa.table({**dict(zip(HEADER, columns, strict=True)), "ordered_at": at})
    pq.write_table(table, folder / "order_lines.parquet")
    return folder


@pytest.mark.parametrize("writing", UTC_WRITINGS)
def test_times_in_utc_are_converted_to_the_time_zone_of_the_shop(
    writing: str, place: Place
) -> None:
    raw = write_utc(place.folder / "raw", writing)
    (note,) = fetched(place, raw)["notes"]
    assert "are read in UTC" in note and "RESTOCK_TIMEZONE" in note
    assert times(place) == [line.at for line in EVENINGS]

    (note,) = fetched(place, raw, RESTOCK_TIMEZONE="America/New_York")["notes"]
    assert "converted from UTC to America/New_York" in note
    change = datetime(2023, 3, 12, 7)  # 2 a.m. in New York; no line is later than autumn
    assert times(place) == [
        line.at - timedelta(hours=4 if line.at >= change else 5) for line in EVENINGS
    ]
    assert fetched(place, raw, 'timezone = "America/New_York"')["notes"] == [note]


def test_an_unknown_time_zone_is_an_error(place: Place) -> None:
    raw = write_lines(place.folder / "raw", LINES)
    message = refused(place, raw, code=2, RESTOCK_TIMEZONE="New York")
    assert "unknown time zone 'New York' (RESTOCK_TIMEZONE)" in message


@pytest.mark.parametrize(("share", "is_told"), [(0.04, False), (0.08, True)])
def test_orders_at_night_are_told(share: float, is_told: bool, place: Place) -> None:
    night = {line.order for line in LINES[:: round(1 / share)]}
    night = set(sorted(night)[: round(share * ORDERS)])

    def moved(line: Line) -> Line:
        return line._replace(at=line.at.replace(hour=3 if line.order in night else 15))

    notes = fetched(place, write_lines(place.folder / "raw", LINES, moved))["notes"]
    assert [f"{len(night) / ORDERS:.1%} of the orders are between 1 and 5 at night" in note
            for note in notes] == [True] * is_told  # fmt: skip


def test_dates_without_times_say_nothing_of_the_night(place: Place) -> None:
    rows = [(line.user, line.order, line.at.date(), line.product) for line in LINES]
    assert fetched(place, write(place.folder / "raw", rows))["notes"] == []


# --- dates that cannot be right -------------------------------------------------------------------


def slipped(at: datetime) -> list[Line]:
    """Return the shop with a last order of one line at this time."""
    return [*LINES, Line(LINES[0].user, "999999", at, LINES[0].product)]


def test_a_date_ahead_of_today_is_refused_unless_allowed(place: Place) -> None:
    raw = write_lines(place.folder / "raw", slipped(datetime(2042, 6, 20, 9)))
    message = refused(place, raw)
    assert f"order_lines.csv, line {len(LINES) + 2}, column ordered_at" in message
    assert '"2042-06-20 09:00:00" is ahead of today' in message
    assert "allow_future = true under [reading]" in message

    (note,) = fetched(place, raw, "allow_future = true")["notes"]
    assert "Orders ahead of today: 1. Set RESTOCK_AS_OF" in note


def test_orders_until_today_are_accepted(place: Place) -> None:
    days = (datetime.now() - LINES[-1].at).days
    today = [line._replace(at=line.at + timedelta(days=days)) for line in LINES]
    assert fetched(place, write_lines(place.folder / "raw", today))["notes"] == []
    tomorrow = [line._replace(at=line.at + timedelta(days=days + 3)) for line in LINES]
    assert "is ahead of today" in refused(
        Place(place.folder / "new"), write_lines(place.folder / "new" / "raw", tomorrow)
    )


def test_the_scoring_date_may_lie_before_orders_ahead_of_today(place: Place) -> None:
    """These orders are then left out, and counted."""
    planned = datetime.now().replace(microsecond=0) + timedelta(days=20)
    days = (planned - LINES[-1].at).days
    lines = [line._replace(at=line.at + timedelta(days=days)) for line in LINES]
    raw = write_lines(place.folder / "raw", lines)
    today = datetime.now().date()
    place.restock(
        *("build", "--source", "order_log", "--raw-dir", raw),
        **home(place, "allow_future = true"),
        RESTOCK_AS_OF=today.isoformat(),
    )
    past = [line for line in lines if line.at.date() <= today]
    assert place.query("select count(*) from fct_order_items") == [(len(past),)]
    assert place.query("select reason, line_count from ml.left_out") == [
        ("after the scoring date", len(lines) - len(past))
    ]


def test_a_date_years_after_the_rest_is_refused_unless_allowed(place: Place) -> None:
    """The day of the newest order decides who is at risk, so an old data set needs this too."""

    def old(line: Line) -> Line:
        return line._replace(at=line.at.replace(year=2017))

    raw = write_lines(place.folder / "raw", slipped(datetime(2023, 6, 20, 9)), old)
    fetched(place, raw)
    lines = [*map(old, LINES), slipped(datetime(2023, 6, 20, 9))[-1]]
    message = refused(Place(place.folder / "new"), write_lines(raw, lines))
    assert f'line {len(LINES) + 2}, column ordered_at: "2023-06-20 09:00:00" is far' in message
    assert "after all other orders" in message
    assert fetched(place, raw, "allow_gap = true")["notes"] == []


@pytest.mark.parametrize("year", [1999, 2016])
def test_a_date_far_behind_the_rest_is_refused_unless_allowed(year: int, place: Place) -> None:
    raw = write_lines(place.folder / "raw", slipped(datetime(year, 6, 20, 9)))
    message = refused(place, raw)
    assert f'line {len(LINES) + 2}, column ordered_at: "{year}-06-20 09:00:00" is far' in message
    assert "before all other orders" in message and "only 1 of the orders" in message
    assert fetched(place, raw, "allow_gap = true")["notes"] == []


def test_a_shop_that_was_closed_for_years_is_accepted(place: Place) -> None:
    def moved(line: Line) -> Line:
        early = int(line.user) % 5 == 0
        return line._replace(at=line.at - timedelta(days=1500 if early else 0))

    assert fetched(place, write_lines(place.folder / "raw", LINES, moved))["notes"] == []


# --- lines that are no purchases ------------------------------------------------------------------

QUANTITY = (*HEADER, "quantity")


def with_returns(product: str, quantity: int = -1) -> list[tuple[str, ...]]:
    """Return the shop's rows; every purchase of a product is returned two days later."""
    rows = []
    for line in LINES:
        rows.append((*line._replace(order=f"5{line.order}").texts(), "1"))
        if line.product == product:
            back = line._replace(order=f"C{line.order}", at=line.at + timedelta(days=2))
            rows.append((*back.texts(), str(quantity)))
    return rows


def test_a_product_returned_every_time_is_no_purchase(place: Place) -> None:
    raw = write(place.folder / "raw", with_returns("7"), QUANTITY)
    returns = sum(line.product == "7" for line in LINES)
    total = len(LINES) + returns
    assert fetched(place, raw)["notes"] == [
        f"Left out {2 * returns:,} of {total:,} order lines: {returns:,} in a cancelled order, "
        f"{returns:,} returned later."
    ]
    kept = landed(place, "user_id::varchar, product_id::varchar")
    assert Counter(kept) == Counter(
        (line.user, line.product) for line in LINES if line.product != "7"
    )


def test_a_return_takes_back_the_latest_purchase_before_it(place: Place) -> None:
    """In full or in part. More than was bought, or a return before a purchase, takes nothing."""
    rows = [
        ("1", "a", "2024-01-01", "milk", "3", "6.00"),
        ("1", "b", "2024-01-05", "milk", "2", "4.00"),
        ("1", "r1", "2024-01-07", "milk", "-3", "-6.00"),  # all of b and 1 of a
        ("1", "c", "2024-01-09", "milk", "1", "2.00"),
        ("1", "b", "2024-01-05", "tea", "1", "9.00"),
        ("1", "r2", "2024-01-10", "tea", "-5", "-45.00"),
        ("1", "d", "2024-01-20", "tea", "2", "18.00"),
        ("2", "r3", "2024-01-02", "milk", "-1", "-2.00"),
        ("2", "e", "2024-01-03", "milk", "1", "2.00"),
        ("2", "e", "2024-01-03", "soap", "0.5", "1.25"),
        ("2", "e", "2024-01-03", "bag", "0", "0"),
    ]
    raw = write(place.folder / "raw", rows, (*QUANTITY, "sales_value"))
    (note,) = fetched(place, raw)["notes"]
    assert note == (
        "Left out 6 of 11 order lines: 3 with a quantity below 0, 2 returned later, "
        "1 with a quantity of 0."
    )
    assert landed(place, "order_id, product_id, quantity::double, sales_value::double") == [
        ("a", "milk", 2, 4),
        ("c", "milk", 1, 2),
        ("d", "tea", 2, 18),
        ("e", "milk", 1, 2),
        ("e", "soap", 0.5, 1.25),
    ]


def test_a_shop_whose_order_ids_start_with_c_keeps_them(place: Place) -> None:
    rows = [
        (*line._replace(order=f"C{line.order}").texts(), "0" if n % 10 == 0 else "1")
        for n, line in enumerate(LINES)
    ]
    fetched(place, write(place.folder / "raw", rows, QUANTITY))
    assert landed(place, "count(*)") == [(sum(row[-1] == "1" for row in rows),)]


def test_cancelled_orders_without_quantities_are_told(place: Place) -> None:
    cancelled = set(sorted({line.order for line in LINES})[::10])

    def marked(line: Line) -> Line:
        return line._replace(order=f"C{line.order}" if line.order in cancelled else line.order)

    raw = write_lines(place.folder / "raw", LINES, marked)
    (note,) = fetched(place, raw)["notes"]
    assert f"{len(cancelled):,} order ids are a C and digits, such as C1001" in note
    assert 'cancelled_prefix = "C"' in note
    (note,) = fetched(place, raw, 'cancelled_prefix = "C"')["notes"]
    lines = sum(line.order in cancelled for line in LINES)
    assert (
        note == f"Left out {lines:,} of {len(LINES):,} order lines: {lines:,} in a cancelled order."
    )
    assert landed(place, "count(*)") == [(len(LINES) - lines,)]


def test_a_log_without_any_purchase_is_refused(place: Place) -> None:
    rows = [(*line.texts(), "0") for line in LINES]
    message = refused(place, write(place.folder / "raw", rows, QUANTITY))
    assert f"none of the {len(LINES):,} lines is a purchase" in message


@pytest.mark.parametrize(
    ("column", "value"),
    [
        *(("quantity", value) for value in ("two", "1,5")),
        *(("price", value) for value in ("$2", "1e99")),
        ("sales_value", "0x10"),
    ],
)
def test_amounts_that_are_not_numbers_are_refused(column: str, value: str, place: Place) -> None:
    rows = [(*line.texts(), value if n == 4 else "1.5") for n, line in enumerate(LINES)]
    message = refused(place, write(place.folder / "raw", rows, (*HEADER, column)))
    assert f'order_lines.csv, line 6, column {column}: "{value}" is not a number' in message


def test_ignored_columns_are_named_once(place: Place) -> None:
    rows = [(*line.texts(), "1", "9.99", "north", "x") for line in LINES]
    header = (*QUANTITY, "price", "branch", "colour")
    raw = write(place.folder / "raw", rows, header)
    names = "".join(f"{product},Tea,B\n" for product in range(1, 31))
    raw.joinpath("products.csv").write_text(f"product_id,product_name,brand\n{names}")
    assert fetched(place, raw)["notes"] == [
        "Ignored columns: branch, colour (order_lines.csv); brand (products.csv)."
    ]


def test_lines_left_out_are_on_the_data_page_and_returns_are_not_recommended(place: Place) -> None:
    raw = write(place.folder / "raw", [(*row, "x") for row in with_returns("7")], (*QUANTITY, "c"))
    done = place.call("restock", "run", "--source", "order_log", "--raw-dir", raw)
    assert done.returncode == 0, done.stderr
    returns = sum(line.product == "7" for line in LINES)
    assert f"{returns:,} returned later" in done.stderr
    assert "Ignored columns: c (order_lines.csv)." in done.stderr
    assert place.query("select count(*) from fct_predictions where product_id = 7") == [(0,)]
    assert place.query("select rejected_count from rpt_raw_files") == [(2 * returns,)]
    counts = dict(place.query("select what, row_count from rpt_row_counts"))
    assert counts["Order lines left out"] == 2 * returns
    assert counts["Order lines merged"] == 0
    assert counts["Order items"] == len(LINES) - returns
    page = (place.folder / "pages" / "data.html").read_text()
    assert "returned later" in page and "Ignored columns: c (order_lines.csv)." in page
    staged = "select distinct quantity::double, sales_value from stg_order_log__order_items"
    assert place.query(staged) == [(1, None)]


# --- order ids and shoppers -----------------------------------------------------------------------


def test_order_ids_used_again_are_refused(place: Place) -> None:
    """Till receipts that count from 1 again: the lines of two visits become one order."""
    place_in_history = Counter[str]()
    seen: dict[str, int] = {}
    for line in LINES:
        if line.order not in seen:
            place_in_history[line.user] += 1
            seen[line.order] = place_in_history[line.user]

    def reused(line: Line) -> Line:
        return line._replace(order=f"{line.user}-{seen[line.order] % 4}")

    message = refused(place, write_lines(place.folder / "raw", LINES, reused))
    assert "column order_id" in message and "has lines more than a day apart, from 2023-" in message
    assert "put the day into order_id" in message

    def dated(line: Line) -> Line:
        return line._replace(order=f"{line.at.date()}-{reused(line).order}")

    fetched(place, write_lines(place.folder / "raw", LINES, dated))
    assert landed(place, "count(distinct order_id)") == [(ORDERS,)]


def test_an_order_around_midnight_is_one_order(place: Place) -> None:
    def stretched(line: Line) -> Line:
        return line._replace(at=line.at + timedelta(hours=int(line.product) % 24))

    fetched(place, write_lines(place.folder / "raw", LINES, stretched))
    assert landed(place, "count(distinct order_id)") == [(ORDERS,)]


def test_an_id_per_order_instead_of_per_customer_is_told(place: Place) -> None:
    raw = write_lines(place.folder / "raw", LINES, lambda line: line._replace(user=line.order))
    (note,) = fetched(place, raw)["notes"]
    assert f"Each of {ORDERS:,} shoppers has one order." in note


def test_an_id_per_line_instead_of_per_order_is_told(place: Place) -> None:
    rows = [line._replace(order=str(n)).texts() for n, line in enumerate(LINES, 1)]
    (note,) = fetched(place, write(place.folder / "raw", rows))["notes"]
    assert f"Each of {len(LINES):,} orders has one line" in note


def guests(line: Line) -> Line:
    """Half of the orders were placed without an account."""
    return line._replace(user="guest" if int(line.order) % 2 else line.user)


def test_everyone_without_an_account_as_one_shopper_is_told(place: Place) -> None:
    raw = write_lines(place.folder / "raw", LINES, guests)
    orders = len({line.order for line in LINES if guests(line).user == "guest"})
    (note,) = fetched(place, raw)["notes"]
    assert f'Shopper "guest" has {orders:,} of {ORDERS:,} orders; the median shopper has ' in note
    (note,) = fetched(place, raw, 'skip_shoppers = ["guest"]')["notes"]
    lines = sum(guests(line).user == "guest" for line in LINES)
    assert f"{lines:,} of a skipped shopper" in note
    assert landed(place, "count(*)") == [(len(LINES) - lines,)]


WORDS = [
    *("[NULL]", "<NA>", "undefined", "#N/A", "(null)", "NaT", "NULL", "nan", "None", "\\N"),
    *("#VALUE!", "<null>", "(blank)", "nil", "NA", "n/a", ""),
]


@pytest.mark.parametrize("word", WORDS)
def test_a_line_without_a_shopper_is_refused_or_left_out(word: str, place: Place) -> None:
    def nobody(line: Line) -> Line:
        return line._replace(user=word if int(line.user) % 5 == 0 else line.user)

    raw = write_lines(place.folder / "raw", LINES, nobody)
    first = next(n for n, line in enumerate(LINES, 2) if int(line.user) % 5 == 0)
    message = refused(place, raw)
    assert f"order_lines.csv, line {first}, column user_id: " in message
    assert (f'"{word}"' if word else "an empty value") in message
    assert "skip_missing_shoppers = true" in message

    missing = sum(int(line.user) % 5 == 0 for line in LINES)
    (note,) = fetched(place, raw, "skip_missing_shoppers = true")["notes"]
    assert note == (
        f"Left out {missing:,} of {len(LINES):,} order lines: {missing:,} without a shopper."
    )
    assert landed(place, "distinct typeof(user_id)") == [("BIGINT",)]
    assert landed(place, "count(*)") == [(len(LINES) - missing,)]


def test_an_id_that_is_also_a_word_for_missing_can_be_kept(place: Place) -> None:
    """The catalogue or the settings say that it is an id."""

    def bread(line: Line) -> Line:
        return line._replace(product="NAN" if line.product == "3" else f"p{line.product}")

    raw = write_lines(place.folder / "raw", LINES, bread)
    message = refused(place, raw)
    assert '"NAN" is a word for a missing value' in message and "keep_ids" in message
    assert fetched(place, raw, 'keep_ids = ["NAN"]')["notes"] == []
    naan = sum(line.product == "3" for line in LINES)
    assert landed(place, "count_if(product_id = 'NAN')") == [(naan,)]

    raw.joinpath("products.csv").write_text("product_id,product_name\nNAN,Naan bread\np1,Tea\n")
    fetched(place, raw)
    assert landed(place, "count_if(product_id = 'NAN')") == [(naan,)]
    raw.joinpath("products.csv").write_text("product_id,product_name\nNAN,nan\np1,Tea\n")
    with pytest.raises(SourceError, match='"NAN" is a word'):
        land("order_log", raw, place.folder / "landing")


@pytest.mark.parametrize(
    ("reading", "problem"),
    [
        ("allow_futures = true", "allow_futures"),
        ('allow_future = "yes"', "write true or false"),
        ('skip_shoppers = "guest"', "write a list"),
        ("timezone = 2", "write a text"),
    ],
)
def test_an_invalid_reading_setting_is_an_error(reading: str, problem: str, place: Place) -> None:
    assert problem in refused(place, write_lines(place.folder / "raw", LINES), reading, code=2)


# --- one core -------------------------------------------------------------------------------------


def test_one_thread_builds_instacart_files_of_several_row_groups(place: Place) -> None:
    raw = write_large_instacart(place.folder / "raw")
    arguments = ("build", "--source", "instacart", "--raw-dir", raw)
    place.restock(*arguments, RESTOCK_THREADS="1")
    rows = dict(place.query("select file_name, row_count from ml.raw_files"))
    total = rows["order_products__prior.csv"] + rows["order_products__train.csv"]
    assert place.query("select count(*) from fct_order_items") == [(total,)]


# --- The Complete Journey -------------------------------------------------------------------------


def test_files_of_an_older_version_are_written_again_but_a_users_own_are_kept(
    tmp_path: Path,
) -> None:
    raw, target = tmp_path / "raw", tmp_path / "raw" / "order_lines.parquet"
    fetch("complete_journey", raw)
    new = target.read_bytes()
    columns = ", ".join(HEADER)
    old = f"copy (select {columns} from read_parquet('{target}')) to '{tmp_path}/old.parquet'"
    duckdb.sql(old)
    (tmp_path / "old.parquet").rename(target)
    fetch("complete_journey", raw)
    assert target.read_bytes() == new

    duckdb.sql(f"{old.replace(')) to', ') limit 1000) to')}")
    (tmp_path / "old.parquet").rename(target)
    own = target.read_bytes()
    fetch("complete_journey", raw)
    assert target.read_bytes() == own
