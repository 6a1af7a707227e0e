"""A simulated shop is a valid order log with events, and its true probabilities are exact."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pytest
from conftest import Place
from sklearn.metrics import roc_auc_score

from ml.errors import SettingsError, StorageError
from ml.simulation import events as module
from ml.simulation.draws import Draws
from ml.simulation.events import simulate_events

SHOPPERS, DAYS = 1_500, 120
COLUMNS = {
    "order_lines": {
        "user_id": "BIGINT",
        "order_id": "BIGINT",
        "ordered_at": "TIMESTAMP",
        "product_id": "BIGINT",
        "quantity": "BIGINT",
        "price": "DECIMAL(12,2)",
    },
    "products": {
        "product_id": "BIGINT",
        "product_name": "VARCHAR",
        "aisle": "VARCHAR",
        "department": "VARCHAR",
    },
    "events": {
        "user_id": "BIGINT",
        "occurred_at": "TIMESTAMP",
        "event_type": "VARCHAR",
        "event_id": "BIGINT",
        "product_id": "BIGINT",
        "session_id": "BIGINT",
        "value": "DECIMAL(12,2)",
        "received_at": "TIMESTAMP",
    },
    "true_probabilities": {
        "user_id": "BIGINT",
        "cutoff_at": "TIMESTAMP",
        "probability": "DOUBLE",
        "bought": "BOOLEAN",
    },
}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("simulated") / "data"
    return simulate_events(folder, SHOPPERS, days=DAYS).folder


@pytest.fixture(scope="module")
def con(data: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    """The files as tables. `people` has the events of people, each once; `past` has
    a row per shopper and midnight, with what was known at that midnight."""
    with duckdb.connect() as con:
        for name in COLUMNS:
            con.execute(f"create table {name} as from '{data}/{name}.parquet'")
        con.execute(
            """
            create table people as
            select distinct * from events where user_id % 1000 <> 500;
            create table truth as from true_probabilities;
            create table past as
            select
                user_id,
                cutoff_at,
                any_value(probability) as probability,
                any_value(bought) as bought,
                count(*) filter (event_type = 'purchase') as purchases,
                count(*) filter (event_type = 'cart' and days_ago <= 3) as carts,
                count(*) filter (event_type = 'checkout' and days_ago <= 2) as checkouts,
                min(days_ago) filter (event_type = 'purchase') as days_since_purchase
            from (
                select truth.*, event_type, date_diff('day', received_at, cutoff_at) as days_ago
                from truth left join people
                on truth.user_id = people.user_id and received_at < cutoff_at)
            where user_id % 1000 <> 500
            group by user_id, cutoff_at;
            create macro log_start() as timestamp '2024-01-01';
            create macro log_end() as (select max(cutoff_at) from truth);
            """
        )
        yield con


def value(con: duckdb.DuckDBPyConnection, query: str) -> float:
    """Return the only value of a query."""
    ((result,),) = con.execute(query).fetchall()
    return float(result)


def test_files_have_the_columns_of_an_order_log(con: duckdb.DuckDBPyConnection, data: Path) -> None:
    assert {path.name for path in data.iterdir()} == {f"{name}.parquet" for name in COLUMNS}
    for name, columns in COLUMNS.items():
        described = con.execute(f"describe {name}").fetchall()
        assert {column[0]: column[1] for column in described} == columns


@pytest.mark.parametrize(
    ("rule", "violations"),
    {
        "a purchase in the log is one in the truth, and the other way round": """
            with purchases as (
                select user_id, date_trunc('day', occurred_at) as cutoff_at, count(*) as purchases
                from (select distinct * from events) where event_type = 'purchase' group by all)
            select 1 from (from purchases where cutoff_at >= (select min(cutoff_at) from truth))
            full join (from truth where cutoff_at < log_end()) using (user_id, cutoff_at)
            where coalesce(purchases, 0) <> coalesce(bought::int, -1)""",
        "each purchase is an order, at the same time and for the same money": """
            with purchases as (select distinct * from events where event_type = 'purchase'),
            orders as (
                select user_id, order_id, ordered_at, sum(quantity * price) as value
                from order_lines group by all)
            select 1 from purchases full join orders
            on purchases.user_id = orders.user_id and occurred_at = ordered_at
            and session_id // 10 = order_id
            where purchases.value is distinct from orders.value""",
        "the truth has 57 midnights, and each shopper once at each from their first on": """
            select 1 from truth group by user_id, cutoff_at having count(*) > 1
            union all
            select 1 from truth having count(distinct cutoff_at) <> 57
            or min(cutoff_at) <> log_end() - interval 56 days
            union all
            select 1 from truth group by user_id
            having count(*) <> date_diff('day', min(cutoff_at), max(cutoff_at)) + 1
            or max(cutoff_at) <> log_end()""",
        "shoppers seen before a midnight have a row there": """
            select 1 from (
                select user_id, min(occurred_at) as first_at from events group by user_id)
            cross join (select distinct cutoff_at from truth) anti join truth
            using (user_id, cutoff_at) where first_at < cutoff_at""",
        "probabilities are between 0 and 1, and 0 for robots only": """
            select 1 from truth where probability not between 0 and 0.5
            or (probability = 0) <> (user_id % 1000 = 500)""",
        "nothing is received before it occurs or after the log ends": """
            select 1 from events where occurred_at < log_start() or received_at < occurred_at
            or received_at >= log_end() or received_at > occurred_at + interval 2 days""",
        "purchases are received at once": """
            select 1 from events where event_type = 'purchase' and received_at <> occurred_at""",
        "rows with the same event id are alike in every column": """
            select 1 from (select distinct * from events) group by event_id having count(*) > 1""",
        "a session has one shopper": """
            select 1 from events group by session_id having count(distinct user_id) > 1""",
        "a session is shorter than a day": """
            select 1 from people group by session_id
            having max(occurred_at) - min(occurred_at) > interval 1 day""",
        "a session with a cart ends before midnight": """
            select 1 from people group by session_id
            having bool_or(event_type = 'cart')
            and max(occurred_at)::date > min(occurred_at)::date""",
        "views, carts and removes have a product of the catalogue, other events have none": """
            select 1 from events left join products using (product_id)
            where (event_type in ('view', 'cart', 'remove')) <> (products.product_id is not null)
            or products.product_id is null and events.product_id is not null""",
        "carts, removes, checkouts and purchases have a value": """
            select 1 from events
            where (event_type in ('view', 'search')) <> (value is null) or value <= 0""",
        "a robot only views": """
            select 1 from events where user_id % 1000 = 500 and event_type <> 'view'""",
        "an order has a product once, and every product is in the catalogue": """
            select 1 from order_lines group by order_id, product_id having count(*) > 1
            union all
            select 1 from order_lines anti join products using (product_id)""",
        "a product has one price": """
            select 1 from order_lines group by product_id having count(distinct price) > 1""",
        "events are in the order in which they were received": """
            select 1 from (
                select received_at, lag(received_at) over (order by file_row_number) as previous
                from read_parquet('DATA/events.parquet', file_row_number = true))
            where received_at < previous""",
    }.items(),
)
def test_a_simulated_shop_follows_the_rule(
    con: duckdb.DuckDBPyConnection, data: Path, rule: str, violations: str
) -> None:
    assert con.execute(violations.replace("DATA", str(data))).fetchall() == [], rule


@pytest.mark.parametrize(
    ("what", "query", "expected", "tolerance"),
    [
        ("base rate", "select avg(bought::int) from truth", 0.012, 0.0012),
        ("ids that are robots", "select count(distinct user_id) / 1500 from events"
         " where user_id % 1000 = 500", 0.001, 0.0004),
        ("events of a robot on a day it comes", "select median(n) from (select count(*) n"
         " from events where user_id % 1000 = 500 group by session_id)", 400, 150),
        ("doubles", "select 1 - count(distinct event_id) / count(*) from events", 0.002, 0.0004),
        ("late, purchases aside", "select avg((received_at > occurred_at)::int) from people"
         " where event_type <> 'purchase' and occurred_at < log_end() - interval 2 days",
         0.02, 0.001),
        ("mean days late", "select avg(epoch(received_at - occurred_at) / 86400) from people"
         " where received_at > occurred_at and occurred_at < log_end() - interval 2 days", 1, 0.05),
        ("events per shopper and day", f"select count(*) / {SHOPPERS * DAYS} from people",
         0.85, 0.1),
        ("purchases with a checkout on their day", "select avg(c::int) from (select"
         " bool_or(event_type = 'checkout') c from people group by user_id, occurred_at::date"
         " having bool_or(event_type = 'purchase'))", 0.97, 0.01),
        ("days with a checkout that have a purchase", "select avg(p::int) from (select"
         " bool_or(event_type = 'purchase') p from people group by user_id, occurred_at::date"
         " having bool_or(event_type = 'checkout'))", 0.44, 0.03),
        ("order lines that the shopper bought before", "select avg((n > 1)::int) from (select"
         " row_number() over (partition by user_id, product_id order by ordered_at) n"
         " from order_lines)", 0.06, 0.03),
    ],
)  # fmt: skip
def test_a_simulated_shop_resembles_a_real_one(
    con: duckdb.DuckDBPyConnection, what: str, query: str, expected: float, tolerance: float
) -> None:
    assert value(con, query) == pytest.approx(expected, abs=tolerance), what


def test_some_sessions_run_past_midnight(con: duckdb.DuckDBPyConnection) -> None:
    query = """
        select count(*) from (
            select session_id from people group by session_id
            having max(occurred_at)::date > min(occurred_at)::date)
    """
    assert value(con, query) > 20


@pytest.mark.parametrize(
    "group",
    [
        "'all'",
        "floor(2 * log2(probability))",
        "dayofweek(cutoff_at)",
        "floor(date_diff('day', log_start(), cutoff_at) / 14)",
        "least(days_since_purchase // 7, 6)",
        "purchases",
        "least(carts, 5)",
        "least(checkouts, 2)",
        "user_id // 100",
    ],
)
def test_probabilities_agree_with_purchases(con: duckdb.DuckDBPyConnection, group: str) -> None:
    """In every group defined by the past, purchases agree with the probabilities."""
    rows = con.execute(
        f"""
        select sum(bought::int - probability) / sqrt(sum(probability * (1 - probability)))
        from past group by {group} having sum(probability) > 5
        """
    )
    z = np.array([score for (score,) in rows.fetchall()])
    assert len(z) >= (1 if group == "'all'" else 3)
    assert np.abs(z).max() < 4
    assert (z**2).mean() < 2.5


def test_only_a_leak_beats_the_truth(con: duckdb.DuckDBPyConnection) -> None:
    """The join of forecasts with the truth, as in docs/evaluation.md."""
    table = con.execute(
        """
        with days as (
            select user_id, occurred_at::date as day, bool_or(event_type = 'purchase') as bought,
                bool_or(event_type = 'checkout') as checks_out
            from people group by all
        )
        select
            truth.user_id,
            any_value(probability) as truth,
            any_value(truth.bought) as bought,
            (0.3 + count(*) filter (days.bought and day < cutoff_at)) / 100 as own_rate,
            case when bool_or(coalesce(checks_out and day = cutoff_at, false))
                then 0.44 else 0.0004 end as leak
        from truth join days using (user_id)
        where cutoff_at < log_end() and day <= cutoff_at
        group by user_id, cutoff_at
        """
    ).fetchnumpy()
    bought, truth = table["bought"].astype(bool), table["truth"]

    def z(forecast: np.ndarray) -> float:
        """Standard errors by which a forecast is worse than the truth, in blocks by shopper."""

        def loss(p: np.ndarray) -> np.ndarray:
            return -np.log(np.where(bought, p, 1 - p))

        by_shopper = np.bincount(table["user_id"], loss(forecast) - loss(truth))
        return float(by_shopper.sum() / np.sqrt((by_shopper**2).sum()))

    assert z(table["own_rate"].astype(float)) > 3
    assert z(np.full(len(bought), bought.mean())) > 3
    assert z(table["leak"].astype(float)) < -3
    assert 0.85 < roc_auc_score(bought, truth) < 0.91


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_same_seed_gives_the_same_bytes_on_any_threads_and_blocks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    size: dict[str, Any] = {"shoppers": 700, "products": 1_000, "days": 60}
    one = contents(simulate_events(tmp_path / "one", seed=3, threads=1, **size).folder)
    assert contents(simulate_events(tmp_path / "four", seed=3, threads=4, **size).folder) == one
    other = contents(simulate_events(tmp_path / "other", seed=4, **size).folder)
    assert {name for name in one if other[name] == one[name]} == {"products.parquet"}
    monkeypatch.setattr(module, "BLOCK_SHOPPERS", 233)
    assert contents(simulate_events(tmp_path / "blocks", seed=3, **size).folder) == one


def test_a_longer_log_and_a_larger_shop_continue_the_same_one(tmp_path: Path) -> None:
    small = simulate_events(tmp_path / "small", 300, products=1_000, days=60).folder
    large = simulate_events(tmp_path / "large", 400, products=1_000, days=63).folder
    con = duckdb.connect()
    for name, rows in {
        "order_lines": "user_id <= 300 and ordered_at < '2024-03-01'",
        "events": "user_id <= 300 and received_at < '2024-03-01'",
        "true_probabilities": "user_id <= 300 and cutoff_at between '2024-01-08' and '2024-03-01'",
    }.items():
        same = [
            con.execute(f"from '{folder}/{name}.parquet' where {rows}").fetchall()
            for folder in (small, large)
        ]
        assert len(same[0]) > 100
        assert same[0] == same[1], name


def test_draws_are_uniform_and_independent() -> None:
    draws = Draws(1)
    rows, columns = np.arange(1_000), np.arange(100)[:, np.newaxis]
    u = draws.uniform("a", rows, columns)
    tables = [u, draws.uniform("b", rows, columns), Draws(2).uniform("a", rows, columns)]
    counts = np.bincount((20 * u).astype(int).ravel())
    assert np.abs(counts - 5_000).max() < 4.5 * np.sqrt(5_000)
    neighbours = [(u[1:], u[:-1]), (u[:, 1:], u[:, :-1]), *((u, other) for other in tables[1:])]
    for a, b in neighbours:
        assert abs(np.corrcoef(a.ravel(), b.ravel())[0, 1]) < 4.5 / np.sqrt(a.size)
    assert (draws.uniform("a", rows[5:9], np.array([3])) == u[3, 5:9]).all()


def test_summary_counts_the_rows_of_each_file(tmp_path: Path) -> None:
    done: list[int] = []
    result = simulate_events(tmp_path / "new" / "data", 20, days=28, progress=done.append)
    assert done == [20]
    assert result.rows.keys() == {path.name for path in result.folder.iterdir()}
    for name, rows in result.rows.items():
        assert value(duckdb.connect(), f"select count(*) from '{result.folder / name}'") == rows
    truth = f"'{result.folder}/true_probabilities.parquet'"
    assert value(duckdb.connect(), f"select count(distinct cutoff_at) from {truth}") == 28


def test_existing_files_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "events.csv").write_text("mine")
    with pytest.raises(SettingsError, match="is not an empty folder"):
        simulate_events(tmp_path, 10)
    assert contents(tmp_path) == {"events.csv": b"mine"}


@pytest.mark.parametrize(
    "size", [{"shoppers": 0}, {"products": 999}, {"days": 27}, {"days": 1_000}]
)
def test_rejects_impossible_sizes(tmp_path: Path, size: dict[str, Any]) -> None:
    with pytest.raises(SettingsError, match=r"Ask for"):
        simulate_events(tmp_path / "data", **{"shoppers": 10, **size})


def test_a_failure_leaves_no_files(tmp_path: Path) -> None:
    def interrupt(shoppers_done: int) -> None:
        raise OSError("No space left on device")

    with pytest.raises(StorageError, match="No space left"):
        simulate_events(tmp_path / "data", 10, progress=interrupt)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_the_command_writes_an_order_log_that_restock_reads(place: Place, tmp_path: Path) -> None:
    simulate_events(tmp_path / "function", 300, seed=5, days=60)
    sized = ("--events", "--shoppers", "300", "--seed", "5", "--days", "60", "--out")
    summary = place.restock("simulate", *sized, tmp_path / "command")["simulate"]
    assert summary["rows"] == sum(summary["files"].values())
    assert contents(tmp_path / "command") == contents(tmp_path / "function")
    place.restock("fetch", "--source", "order_log", "--raw-dir", tmp_path / "command")

    refused = place.call("restock", "simulate", "--shoppers", "9", "--days", "60", "--out", "x")
    assert refused.returncode == 2
    assert "Add --events" in refused.stderr
