"""Shops with few shoppers: measured by folds, without intervals that nobody should read."""

import hashlib
import itertools
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import shops
from conftest import Place

from ml.modelling.folds import part_in_fold, spaced
from ml.modelling.metrics import FEW_SHOPPERS, evaluate, evaluate_segments

FOLDS = 5


@pytest.mark.parametrize("shoppers", [10, 11, 13, 20, 49])
def test_few_shoppers_are_divided_evenly(shoppers: int) -> None:
    everyone = np.array([f"c{n}" for n in range(shoppers)])
    parts = np.array(
        [part_in_fold(spaced(everyone, everyone), fold, FOLDS) for fold in range(FOLDS)]
    )
    assert (np.sum(parts == "test", axis=0) == 1).all()
    for part, share in (("test", 0.2), ("validation", 0.1)):
        counts = np.sum(parts == part, axis=1)
        assert counts.min() >= 1 and abs(counts - share * shoppers).max() <= 1
    some = everyone[::3]
    assert (spaced(some, everyone) == spaced(everyone, everyone)[::3]).all()


def test_fewer_than_ten_shoppers_have_no_interval() -> None:
    rng = np.random.default_rng(0)
    for shoppers in (FEW_SHOPPERS - 1, FEW_SHOPPERS):
        offsets = np.arange(shoppers + 1) * 8
        score, label = rng.random(8 * shoppers), np.tile([1, 0, 0, 1, 0, 0, 0, 0], shoppers)
        figures = evaluate(score, label, offsets)
        assert not any(np.isnan(estimate.value) for estimate in figures.values())
        assert {bool(np.isnan(e.low) and np.isnan(e.high)) for e in figures.values()} == {
            shoppers < FEW_SHOPPERS
        }


def test_a_figure_over_some_shoppers_counts_those() -> None:
    """Of 20 shoppers, 9 bought something again, and only they have a recall."""
    label = np.zeros(80, dtype=int)
    label[: 9 * 4 : 4] = 1
    figures = evaluate(np.linspace(1, 0, 80), label, np.arange(21) * 4)
    assert np.isnan(figures["recall_at_5"].low) and figures["recall_at_5"].value == 1
    assert not np.isnan(figures["precision_at_5"].low)
    segment = np.where(np.arange(80) < 20, "five", "fifteen")
    parts = evaluate_segments(segment, np.linspace(1, 0, 80), label, np.arange(21) * 4)
    assert np.isnan(parts["five"]["auc"].low) and not np.isnan(parts["fifteen"]["auc"].low)


def first_without(*, split: tuple[str, str], shoppers: int) -> int:
    """The first number from which so many shoppers have none between two hashes."""
    for first in itertools.count(1):
        digests = (hashlib.md5(f"c{first + n}".encode()).hexdigest() for n in range(shoppers))
        if not any(split[0] <= digest < split[1] for digest in digests):
            return first
    raise AssertionError


# 20 shoppers as they come; the fewest, with none in the test and the validation split.
SMALL = {
    "twenty": shops.small(20),
    "all train": shops.small(10, first=first_without(split=("0", "4ccc"), shoppers=10)),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", SMALL)
def test_a_small_shop_is_measured_by_folds_and_published(
    small_shop: Callable[[str, list[shops.Line]], Place], name: str
) -> None:
    place = small_shop(name, SMALL[name])
    shoppers = len({line[0] for line in SMALL[name]})
    said = (place.folder / "said").read_text()
    assert re.search(
        r"too few test shoppers \(\d\) to measure the model: the figures are from 5 folds, "
        rf"in which each of the {shoppers} shoppers is a test shopper once",
        said,
    )
    assert re.search(
        r"verdict: gradient boosting is better than .*, the best simple rule, for \d+% of "
        r"\d+ test shoppers and worse for \d+%: the difference (is real|may be chance)",
        said,
    )
    assert place.query(
        "select distinct cutoff, shopper_count from rpt_test_cutoffs order by cutoff"
    ) == [(cutoff, shoppers) for cutoff in (1, 2, 3)]
    # In a week, fewer than ten of the shoppers do not buy.
    assert "purchase_week skipped: the log is too short or too small" in said
    assert place.query("select count(*) from fct_weekly_propensity") == [(0,)]
    pairs = place.query("select count(distinct (user_id, product_id)) from fct_order_items")
    assert place.query("select count(*) from fct_predictions") == pairs
    assert place.query(
        "select distinct protocol, value from ml.metrics where segment = 'all' "
        "and metric = 'shoppers'"
    ) == [("5-fold", shoppers)]
    assert place.query("select count(distinct user_id) from ml.test_predictions") == [(shoppers,)]
    few = """
        select run_id, segment from ml.metrics
        where metric = 'shoppers' and value < 10
    """
    assert place.query(
        f"select count(*) from ml.metrics inner join ({few}) using (run_id, segment) "
        "where metric like '%_low' or metric like '%_high'"
    ) == [(0,)]
    assert place.query(
        "select count(*) from rpt_model_segments where shopper_count < 10 and auc is not null"
    ) == [(0,)]
    for page, text in {"index": "too few shoppers to set some aside", "accuracy": "5-fold"}.items():
        assert text in (place.folder / f"pages/{page}.html").read_text()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("lines", "says"),
    [
        (shops.small(9), "9 of 9 shoppers have one"),
        (shops.small(60, orders=3), "0 of 60 shoppers have one"),
    ],
    ids=["nine shoppers", "three orders"],
)
def test_too_small_a_shop_is_told_what_to_bring(
    place: Place, tmp_path: Path, lines: list[shops.Line], says: str
) -> None:
    raw = shops.write(tmp_path / "raw", lines)
    done = place.call("restock", "run", "--source", "order_log", "--raw-dir", raw)
    assert done.returncode == 1
    (message,) = re.findall(r" ERROR restock[^:]*: (.*)", done.stderr, re.MULTILINE)
    assert says in message and "10 with 4 orders each" in message
    assert not place.warehouse.exists()
