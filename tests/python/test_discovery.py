"""Lists of products that shoppers have never bought: the method, the jobs, and no leak."""

import shutil
from collections.abc import Callable
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pytest
import shops
from conftest import Place
from scipy.sparse import csr_matrix

from ml.jobs import discovery as job
from ml.modelling import discovery
from ml.modelling.discovery import Discovery, FirstPurchases, Histories


def bought(baskets: list[list[int]], orders: int = 2) -> Histories:
    return Histories(
        pa.chunked_array([pa.array([product for basket in baskets for product in basket])]),
        np.cumsum([0, *map(len, baskets)]),
        np.full(len(baskets), orders),
    )


def fitted(histories: Histories) -> Discovery:
    return discovery.fit(histories, np.ones(len(histories.product_id), dtype=bool))


def two_tastes(shoppers: int = 400) -> list[list[int]]:
    """Shoppers who buy from products 1 to 20, and as many who buy from 21 to 40."""
    rng = np.random.default_rng(0)
    return [sorted(20 * (n % 2) + 1 + rng.permutation(20)[:8]) for n in range(shoppers)]


def test_the_weights_are_those_of_the_regressions() -> None:
    """Steck 2019: each product on all others by ridge regression, solved one by one."""
    histories = bought(two_tastes(60))
    model = fitted(histories)
    X = model.bought(histories).toarray().astype(float)
    for j in range(0, X.shape[1], 7):
        others = np.delete(np.arange(X.shape[1]), j)
        Z = X[:, others]
        gram = Z.T @ Z + discovery.RIDGE * np.eye(len(others))
        expected = np.linalg.solve(gram, Z.T @ X[:, j])
        assert model.weights[others, j] == pytest.approx(expected, rel=1e-3, abs=1e-6)
        assert model.weights[j, j] == 0


def test_a_list_has_the_best_products_that_the_shopper_never_bought() -> None:
    matrix = csr_matrix(np.array([[1, 0, 0, 0], [1, 1, 1, 1], [0, 0, 0, 0]], dtype=np.float32))
    scores = np.array([0.25, 0.5, 0.0, 0.25], dtype=np.float32)
    lists = discovery.top(matrix, lambda some: np.tile(scores, (some.shape[0], 1)), size=3)
    assert lists.product.tolist() == [1, 3, 2, 1, 0, 3]
    assert lists.offsets.tolist() == [0, 3, 3, 6]  # the second shopper has bought everything
    assert lists.rank.tolist() == [1, 2, 3, 1, 2, 3]
    assert lists.share[:3] == pytest.approx([2 / 3, 1 / 3, 0])  # of the products not bought
    assert lists.share[3:] == pytest.approx([0.5, 0.25, 0.25])


def test_lists_follow_the_taste_of_the_shopper_and_not_of_the_chunk(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    histories = bought(two_tastes())
    model = fitted(histories)
    lists = discovery.top(model.bought(histories), model.score)
    product = model.product_id.to_numpy()[lists.product]
    taste = np.repeat(np.arange(400) % 2, np.diff(lists.offsets))
    assert np.mean((product > 20) == taste) > 0.99
    monkeypatch.setattr(discovery, "CHUNK", 7)
    again = discovery.top(model.bought(histories), model.score)
    assert (again.product == lists.product).all() and (again.share == lists.share).all()


def test_the_most_bought_products_can_be_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(discovery, "MOST_PRODUCTS", 2)
    model = fitted(bought([[9, 5], [5, 7], [7, 5, 3], [7, 1]]))
    assert model.product_id.to_pylist() == [5, 7]
    assert model.recent_share.tolist() == [0.75, 0.75]


def test_probabilities_are_calibrated_on_first_purchases() -> None:
    """A third of the shoppers buy the product that heads their list, and nothing else new."""
    histories = bought(two_tastes())
    model = fitted(histories)
    lists = discovery.top(model.bought(histories), model.score)
    buyers = np.arange(0, 400, 3)
    heads = model.product_id.take(pa.array(lists.product[lists.offsets[buyers]]))
    first = FirstPurchases(buyers, pa.chunked_array([heads]))
    label = model.labels(lists, first)
    assert label.sum() == len(buyers) and (lists.rank[label == 1] == 1).all()
    raw = model.raw_probability(histories, lists)
    found = model.calibrated(histories, first).probability(histories, lists)
    assert ((found > 0) & (found < 1)).all()
    assert found.mean() == pytest.approx(label.mean(), rel=0.02)
    assert raw.mean() > 2 * label.mean()
    order = np.argsort(raw, kind="stable")
    assert (np.diff(found[order]) >= 0).all()


def test_figures_are_over_shoppers_with_a_new_product() -> None:
    """Of four shoppers, one finds one of two new products on the list, and one finds none."""
    histories = bought([[1], [2], [3], [4]], orders=1)
    model = Discovery(
        pa.array([1, 2, 3, 4]), np.zeros((4, 4), np.float16), np.array([4, 3, 2, 1], np.float32)
    )
    first = FirstPurchases(np.array([0, 0, 1]), pa.chunked_array([[2, 99, 98]]))
    last = {"last": lambda some: np.tile(np.array([0, 0, 0, 1], np.float32), (some.shape[0], 1))}
    measured = discovery.measure(
        model, histories, first, last, lambda lists: model.probability(histories, lists)
    )
    assert (measured.shoppers, measured.rows) == (2, 12)
    ours = measured.figures[discovery.OURS]
    assert ours["recall_at_10"].value == 0.25 and ours["hit_rate_at_10"].value == 0.5
    assert ours["mean_observed"].value == pytest.approx(1 / 12)
    assert measured.differences["last"]["recall_at_10"].value == 0
    assert np.isnan(ours["recall_at_10"].low)  # too few shoppers for an interval


def test_text_and_whole_numbers_name_the_same_product() -> None:
    model = fitted(bought(two_tastes(20)))
    text = Histories(pa.chunked_array([["3", "x"]]), np.array([0, 2]), np.array([1]))
    number = Histories(pa.chunked_array([[3]]), np.array([0, 1]), np.array([1]))
    assert (model.bought(text) != model.bought(number)).nnz == 0
    assert Discovery().bought(text).shape == (1, 0)  # a version of an earlier Restock


@pytest.mark.slow
def test_no_target_is_learned_and_no_test_label_calibrates(
    published: Place, tmp_path: Path
) -> None:
    """Every test shopper's target becomes the ten products on the list, which would be perfect.

    What is learned, calibrated and listed stays the same, bit for bit, and the figures change. If
    the first two on the lists of the others become theirs, the calibration changes, and no more.
    """
    model = job.load(published.model)

    def attacked(split: str, size: int) -> job.Past:
        path = tmp_path / f"{split}.duckdb"
        shutil.copyfile(published.warehouse, path)
        with duckdb.connect(str(path)) as con:
            past = job.Past(con)
            lists = discovery.top(model.bought(past.histories), model.score, size)
            user = np.repeat(np.arange(len(past.user_id)), np.diff(lists.offsets))
            theirs = past.split[user] == "test" if split == "test" else past.split[user] != "test"
            wanted = pa.table(
                {
                    "user_id": past.user_id.take(pa.array(user[theirs])),
                    "product_id": model.product_id.take(pa.array(lists.product[theirs])),
                }
            )
            con.register("wanted", wanted)
            con.execute(
                """
                create temp table targeted as
                select order_id, user_id from targets
                where cutoff = 1 and user_id in (select user_id from wanted)
                """
            )
            con.execute(
                "delete from fct_order_items where order_id in (select order_id from targeted)"
            )
            con.execute(
                """
                insert into fct_order_items by name
                select order_id, user_id, product_id, 1 as purchase_number
                from wanted inner join targeted using (user_id)
                """
            )
            # What is known now has the target too.
            con.execute(
                """
                insert into pair_totals by name
                select 0 as cutoff, user_id, product_id, 1 as orders_since_last from wanted
                """
            )
            return job.Past(con)

    for split, size, same in (("test", 10, True), ("other", 2, False)):
        past = attacked(split, size)
        again = past.fit()
        assert again.product_id.equals(model.product_id)
        assert (again.weights == model.weights).all()
        assert (again.recent_share == model.recent_share).all()
        calibrated = past.calibrated(again, past.split != "test").calibrator
        of_lists = np.linspace(0.001, 0.2, 50)
        unchanged = calibrated.transform(of_lists) == model.calibrator.transform(of_lists)
        assert unchanged.all() == same
        measured = past.measure(model, [(model, past.split == "test")], seed=0)
        assert measured
        recall = measured.figures[discovery.OURS]["recall_at_10"].value
        assert (recall == 1) == same


@pytest.mark.slow
def test_every_shopper_has_a_list_apart_from_what_they_bought(published: Place) -> None:
    assert published.query(
        "select count(distinct user_id), max(rank_in_user), count(*) from fct_discoveries"
    ) == [(300, 10, 3000)]
    again = "select * from fct_discoveries semi join fct_predictions using (user_id, product_id)"
    assert published.query(again) == []
    for table in ("rpt_discoveries", "rpt_shopper_discoveries"):
        assert published.query(f"select count(*) > 0 from {table}") == [(True,)]
    names = "select model_name from rpt_discovery_check order by model_name"
    assert published.query(names) == [
        ("ease",),
        ("item_cosine",),
        ("popularity",),
        ("recent_popularity",),
    ]


@pytest.mark.slow
def test_a_short_list_is_filled_from_new_products(published: Place) -> None:
    """The SQL of docs/outputs.md."""
    page = (Path(__file__).parents[2] / "docs" / "outputs.md").read_text()
    sql = page.split("## Fill a list")[1].split("```sql\n")[1].split("```")[0]
    few = "select count(*) from (from fct_recommendations) group by user_id having count(*) < 10"
    assert published.query(few) != []
    assert published.query(
        f"select min(n), max(n), min(places), max(places) from (select count(*) as n, "
        f"count(distinct place) as places from ({sql}) group by user_id)"
    ) == [(10, 10, 10, 10)]


@pytest.mark.slow
def test_a_tiny_shop_has_lists(small_shop: Callable[[str, list[shops.Line]], Place]) -> None:
    """Of 40 products, and measured by folds."""
    place = small_shop("twenty", shops.small(20))
    sizes = "select max(rank_in_user), min(purchase_probability) > 0 from fct_discoveries"
    assert place.query(sizes) == [(10, True)]
    assert place.query("select distinct protocol from ml.discovery_metrics") == [("5-fold",)]
