"""Simulated data has Instacart's format and distributions, and true probabilities."""

import re
from collections.abc import Iterator
from pathlib import Path

import duckdb
import numpy as np
import pytest
from conftest import Place
from lightgbm import LGBMClassifier
from sklearn.metrics import roc_auc_score

from ml.errors import SettingsError, StorageError
from ml.simulation import process
from ml.simulation import simulate as module
from ml.simulation.simulate import simulate

SHOPPERS = 3_000

LATER_ORDERS = """
    from (
        select
            user_id, sum(reordered * half) as a, sum(reordered * (1 - half)) as b,
            sum(1 - reordered) as new
        from (select *, (hash(product_id) % 2)::int as half from items)
        where order_number >= 5 group by user_id, order_number
    )
    group by user_id having count(*) >= 5
"""
"""Five or more orders of a shopper from the fifth on: `a` and `b` are the products bought again of
either half of the catalogue, and `new` those bought for the first time."""


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return simulate(tmp_path_factory.mktemp("simulated") / "data", SHOPPERS).folder


@pytest.fixture(scope="module")
def con(data: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    """The files as tables; `items` joins order lines with their orders."""
    with duckdb.connect() as con:
        for name in ("orders", "products", "aisles", "departments"):
            con.execute(f"create table {name} as from '{data}/{name}.csv'")
        con.execute(
            f"""
            create table lines as from read_csv('{data}/order_products__*.csv', filename = true);
            create table items as from lines join orders using (order_id);
            create table truth as from '{data}/true_probabilities.parquet';
            """
        )
        yield con


def value(con: duckdb.DuckDBPyConnection, query: str) -> float:
    """Return the only value of a query."""
    ((result,),) = con.execute(query).fetchall()
    return float(result)


def test_files_have_instacarts_format(data: Path) -> None:
    formats = {
        "aisles.csv": ("aisle_id,aisle", r"\d+,[a-z ]+"),
        "departments.csv": ("department_id,department", r"\d+,[a-z ]+"),
        "products.csv": (
            "product_id,product_name,aisle_id,department_id",
            r'\d+,"[\w&\' ]+, [\w ]+",\d+,\d+',
        ),
        "orders.csv": (
            "order_id,user_id,eval_set,order_number,order_dow,order_hour_of_day,"
            "days_since_prior_order",
            r"\d+,\d+,(prior,1,[0-6],\d+,|(prior|train|test),\d+,[0-6],\d+,\d+\.0)",
        ),
        "order_products__prior.csv": (
            "order_id,product_id,add_to_cart_order,reordered",
            r"\d+,\d+,\d+,[01]",
        ),
        "order_products__train.csv": (
            "order_id,product_id,add_to_cart_order,reordered",
            r"\d+,\d+,\d+,[01]",
        ),
    }
    assert {path.name for path in data.iterdir()} == {*formats, "true_probabilities.parquet"}
    for name, (header, row) in formats.items():
        first, *rest = (data / name).read_text().splitlines()
        assert first == header, name
        assert [line for line in rest if not re.fullmatch(row, line)] == [], name


@pytest.mark.parametrize(
    ("rule", "violations"),
    {
        "order ids are 1..n": """
            select 1 from orders having count(distinct order_id) < count(*)
            or min(order_id) <> 1 or max(order_id) <> count(*)""",
        "shoppers have 4 to 100 orders, numbered without gaps": """
            select user_id from orders group by user_id
            having list_sort(list(order_number)) <> range(1, count(*) + 1)
            or count(*) not between 4 and 100""",
        "only the last order is train or test": """
            select 1 from orders o
            where (eval_set = 'prior') = (
                order_number = (select max(order_number) from orders where user_id = o.user_id))""",
        "closed orders have lines in the file of their set, open orders have none": """
            select 1 from orders full join lines using (order_id)
            where (lines.order_id is null) <> (eval_set = 'test')
            or not coalesce(contains(filename, eval_set || '.csv'), true)""",
        "cart positions are 1..n": """
            select order_id from lines group by order_id
            having list_sort(list(add_to_cart_order)) <> range(1, count(*) + 1)""",
        "a product is in an order once": """
            select 1 from lines group by order_id, product_id having count(*) > 1""",
        "reordered means bought in an earlier order": """
            select 1 from (
                select reordered, row_number() over (
                    partition by user_id, product_id order by order_number) > 1 as is_repeat
                from items)
            where reordered::boolean <> is_repeat""",
        "weekdays agree with the days between orders, unless capped": """
            select 1 from (
                select *, lag(order_dow) over (partition by user_id order by order_number) as dow
                from orders)
            where days_since_prior_order < 30 and (dow + days_since_prior_order) % 7 <> order_dow
            or days_since_prior_order not between 0 and 30""",
        "products, aisles and departments are in the catalogue": """
            select 1 from (from lines anti join products using (product_id))
            union all
            select 1 from products left join aisles using (aisle_id)
            left join departments using (department_id)
            where aisle is null or department is null""",
        "names and ids are unique": """
            select 1 from products having count(distinct product_name) < count(*)
            or count(distinct product_id) < count(*)""",
        "an aisle is in one department": """
            select 1 from products group by aisle_id having count(distinct department_id) > 1""",
        "the true probabilities have each pair once": """
            select 1 from truth
            full join (select distinct user_id, product_id, true as is_pair from items)
            using (user_id, product_id)
            group by user_id, product_id having count(*) <> 1 or not any_value(is_pair)
            or any_value(is_pair) is null or any_value(probability) not between 0 and 1""",
    }.items(),
)
def test_simulated_data_follows_the_rule(
    con: duckdb.DuckDBPyConnection, rule: str, violations: str
) -> None:
    assert con.execute(violations).fetchall() == [], rule


@pytest.mark.parametrize(
    ("what", "query", "expected", "tolerance"),
    [
        ("shoppers", "select count(distinct user_id) from orders", SHOPPERS, 0),
        ("aisles", "select count(*) from aisles", 134, 0),
        ("departments", "select count(*) from departments", 21, 0),
        ("orders per shopper", f"select count(*) / {SHOPPERS} from orders", 16.6, 1.2),
        ("median of orders", "select median(n) from (select count(*) n from orders"
         " group by user_id)", 10, 1),
        ("basket", "select count(*) / count(distinct order_id) from lines", 10.1, 0.6),
        ("reordered", "select avg(reordered) from lines", 0.59, 0.02),
        ("open", "select count(*) filter (where eval_set = 'test') /"
         f" {SHOPPERS} from orders", 0.65, 0.03),
        ("days between orders", "select avg(days_since_prior_order) from orders", 11.1, 0.9),
        ("share of the 100 best sellers", "select sum(n) / (select count(*) from lines) from ("
         "select count(*) n from lines group by product_id order by n desc limit 100)", 0.25, 0.06),
        ("reordered, first in the cart", "select avg(reordered) from lines"
         " where add_to_cart_order = 1", 0.71, 0.04),
        ("pairs bought again in the next order", "select avg(bought::int) from truth", 0.1, 0.015),
        # The Instacart sample has 0.436 and 0.501.
        ("variation of the basket", f"select sqrt(sum(var) / sum(mean ** 2)) from ("
         f"select var_samp(a + b + new) as var, avg(a + b + new) as mean {LATER_ORDERS})",
         0.44, 0.04),
        ("correlation of two halves", f"select sum(c) / sqrt(sum(va) * sum(vb)) from ("
         "select covar_samp(a, b) as c, var_samp(a) as va, var_samp(b) as vb"
         f" {LATER_ORDERS})", 0.5, 0.08),
    ],
)  # fmt: skip
def test_distributions_resemble_instacart(
    con: duckdb.DuckDBPyConnection, what: str, query: str, expected: float, tolerance: float
) -> None:
    assert value(con, query) == pytest.approx(expected, abs=tolerance), what


def test_gaps_peak_at_7_and_30(con: duckdb.DuckDBPyConnection) -> None:
    counts = dict(
        con.execute("select days_since_prior_order, count(*) from orders group by all").fetchall()
    )
    for peak in (7, 14, 21):
        assert counts[peak] > 1.2 * max(counts[peak - 1], counts[peak + 1])
    assert counts[30] > 3 * counts[29]


def test_hours_and_weekdays_follow_their_profile(con: duckdb.DuckDBPyConnection) -> None:
    profiles = {
        "order_hour_of_day": np.array(process.HOURS) / sum(module.HOURS),
        "order_dow": 0.7 / 7 + 0.3 * np.array(process.WEEKDAYS) / sum(module.WEEKDAYS),
    }
    for column, expected in profiles.items():
        rows = con.execute(f"select count(*) from orders group by {column} order by {column}")
        shares = np.array([n for (n,) in rows.fetchall()]) / value(
            con, "select count(*) from orders"
        )
        np.testing.assert_allclose(shares, expected, atol=0.01)


@pytest.mark.parametrize(
    "group",
    [
        "floor(10 * probability)",
        # an early trip is a small one, and the probabilities know it
        "least(days_since_prior_order, 10)",
        "least(next_order - last_bought, 10)",
        "least(times_bought, 10)",
        "order_count // 10",
    ],
)
def test_probabilities_agree_with_purchases(con: duckdb.DuckDBPyConnection, group: str) -> None:
    """In every group defined by the past, purchases agree with the probabilities."""
    rows = con.execute(
        f"""
        with past as (
            select user_id, product_id, count(*) as times_bought, max(order_number) as last_bought
            from items group by user_id, product_id
        ), next_orders as (
            select user_id, order_number as next_order, order_number as order_count,
                days_since_prior_order
            from orders where eval_set = 'test'
        )
        select sum(bought::int - probability) / sqrt(sum(probability * (1 - probability)))
        from truth join past using (user_id, product_id) join next_orders using (user_id)
        group by {group} having count(*) > 100
        """
    )
    z = np.array([score for (score,) in rows.fetchall()])
    assert len(z) >= 9
    assert np.abs(z).max() < 4
    assert (z**2).mean() < 2.5


def test_products_of_an_order_are_independent_given_the_truth(
    con: duckdb.DuckDBPyConnection,
) -> None:
    """The number bought again has the mean and variance of independent draws.

    If the truth did not know the size of the trip, the ratio of the variances would be above 2.
    """
    rows = con.execute(
        """
        select sum(bought::int), sum(probability), sum(probability * (1 - probability))
        from truth group by user_id
        """
    ).fetchnumpy()
    bought, mean, variance = (np.asarray(values, float) for values in rows.values())
    assert abs((bought - mean).sum()) < 3 * np.sqrt(variance.sum())
    assert ((bought - mean) ** 2).sum() / variance.sum() == pytest.approx(1, abs=0.12)


@pytest.mark.slow
def test_a_model_beats_frequency_but_not_the_true_probabilities(
    con: duckdb.DuckDBPyConnection,
) -> None:
    table = con.execute(
        """
        with gaps as (
            select *, order_number - lag(order_number) over (
                partition by user_id, product_id order by order_number) as gap
            from items
        ), shoppers as (
            select user_id, max(order_number) as order_count, avg(reordered) as reorder_share
            from items group by user_id
        )
        select
            user_id % 2 as fold, any_value(bought) as bought, any_value(probability) as truth,
            count(*) / any_value(order_count) as frequency,
            any_value(order_count) - max(order_number) as since_last,
            any_value(order_count) - min(order_number) as since_first,
            count(*) as times_bought, avg(gap) as mean_gap,
            any_value(reorder_share) as reorder_share,
            (max_by(gap, order_number)) as last_gap
        from gaps join truth using (user_id, product_id) join shoppers using (user_id)
        group by user_id, product_id order by user_id, product_id
        """
    ).fetchnumpy()
    columns = {k: np.ma.filled(v.astype(float), np.nan) for k, v in table.items()}
    held_out, bought, truth = (columns.pop(k) for k in ("fold", "bought", "truth"))
    test, X = held_out == 1, np.column_stack(list(columns.values()))
    model = LGBMClassifier(
        n_estimators=80, num_leaves=15, min_child_samples=50, n_jobs=2, verbose=-1
    ).fit(X[~test], bought[~test])
    frequency = roc_auc_score(bought[test], columns["frequency"][test])
    found = roc_auc_score(bought[test], np.asarray(model.predict_proba(X[test]))[:, 1])
    ceiling = roc_auc_score(bought[test], truth[test])
    assert 0.72 < frequency < 0.80
    assert frequency + 0.05 < found < ceiling - 0.02
    assert ceiling < 0.95


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_same_seed_gives_the_same_bytes_on_any_number_of_threads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = contents(simulate(tmp_path / "one", 400, seed=3, threads=1).folder)
    assert contents(simulate(tmp_path / "four", 400, seed=3, threads=4).folder) == one
    other = contents(simulate(tmp_path / "other", 400, seed=4).folder)
    assert other["products.csv"] == one["products.csv"]
    assert all(other[name] != one[name] for name in one if "order" in name or "true" in name)
    monkeypatch.setattr(module, "BLOCK_SHOPPERS", 150)
    assert contents(simulate(tmp_path / "blocks", 400, seed=3).folder) == one


def test_summary_counts_the_rows_of_each_file(tmp_path: Path) -> None:
    done: list[int] = []
    result = simulate(tmp_path / "new" / "data", 20, products=1_234, progress=done.append)
    assert done == [20]
    assert result.rows["products.csv"] == 1_234
    assert result.rows.keys() == {path.name for path in result.folder.iterdir()}
    for name, rows in result.rows.items():
        assert value(duckdb.connect(), f"select count(*) from '{result.folder / name}'") == rows
    assert result.seconds > 0


def test_shoppers_share_products_even_in_a_small_data_set(tmp_path: Path) -> None:
    folder = simulate(tmp_path / "small", 300).folder
    share = value(
        duckdb.connect(),
        f"""
        select avg((shoppers > 1)::int) from (
            select count(distinct user_id) over (partition by product_id) as shoppers
            from '{folder}/true_probabilities.parquet')
        """,
    )
    assert share > 0.9


def test_existing_files_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "orders.csv").write_text("mine")
    with pytest.raises(SettingsError, match="is not an empty folder"):
        simulate(tmp_path, 10)
    with pytest.raises(SettingsError, match="is not an empty folder"):
        simulate(tmp_path / "orders.csv", 10)
    assert contents(tmp_path) == {"orders.csv": b"mine"}


def test_accepts_an_empty_folder(tmp_path: Path) -> None:
    simulate(tmp_path, 10)
    assert (tmp_path / "orders.csv").exists()


@pytest.mark.parametrize(("shoppers", "products"), [(0, None), (10, 999), (10, 50_001)])
def test_rejects_impossible_sizes(tmp_path: Path, shoppers: int, products: int | None) -> None:
    with pytest.raises(SettingsError, match=r"Ask for"):
        simulate(tmp_path / "data", shoppers, products=products)


def test_a_failure_leaves_no_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(shoppers_done: int) -> None:
        raise OSError("No space left on device")

    with pytest.raises(StorageError, match="No space left"):
        simulate(tmp_path / "data", 10, progress=interrupt)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_the_command_and_the_function_write_the_same_files(place: Place, tmp_path: Path) -> None:
    simulate(tmp_path / "function", 300, seed=5, products=2_000)
    sized = ("--shoppers", "300", "--seed", "5", "--products", "2000", "--out")
    summary = place.restock("simulate", *sized, tmp_path / "command")["simulate"]
    assert summary["path"] == str(tmp_path / "command")
    assert summary["rows"] == sum(summary["files"].values())
    names = {path.name for path in (tmp_path / "function").iterdir()}
    assert summary["files"].keys() == names
    for name in names:
        written = (tmp_path / "command" / name).read_bytes()
        assert written == (tmp_path / "function" / name).read_bytes(), name

    again = place.call("restock", "simulate", *sized, tmp_path / "command")
    assert again.returncode == 2
    assert "is not an empty folder" in again.stderr
