"""The library for notebooks: what it returns, and that nothing is measured on what was learned."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any, ClassVar

import duckdb
import numpy as np
import pandas as pd
import pytest
from conftest import ROOT, TRAINING_ROWS, Place
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.compose import make_column_transformer
from sklearn.ensemble import VotingClassifier
from sklearn.frozen import FrozenEstimator
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss, roc_auc_score
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC

from ml import evaluate, examples, features, fit, why
from ml.errors import BusyError, RestockError, SettingsError
from ml.modelling.folds import place
from ml.warehouse.examples import SPLITS

NAMES = (
    *("user_number", "pair_order_share", "pair_decay_5_orders_share", "pair_last_1_count"),
    "pair_gap_mean_days",
)
CHOSEN = ["pair_order_share", "pair_gap_mean_days"]
PRODUCTS = 8


def warehouse(folder: Path, shoppers: int) -> None:
    """Write what the library reads: pairs of cutoffs 0 to 2 that are likelier with their share."""
    rng = np.random.default_rng(1)
    at, user, product = (
        each.ravel() for each in np.meshgrid(range(3), range(1, shoppers + 1), range(PRODUCTS))
    )
    share = rng.random(len(at)).astype(np.float32)
    spot = place(user)
    example = pd.DataFrame(
        {
            "cutoff": at,
            "user_id": user,
            "product_id": product,
            "split": np.select([spot < 0.2, spot < 0.3], ["test", "validation"], "train"),
            "label": pd.array(rng.random(len(at)) < share**2, dtype="boolean"),
            "user_number": user,
            "pair_order_share": share,
            "pair_decay_5_orders_share": share**2,
            "pair_last_1_count": rng.integers(2, size=len(at)),
            "pair_gap_mean_days": np.where(rng.random(len(at)) < 0.1, np.nan, 7),
        }
    )
    example.loc[example.cutoff == 0, "label"] = pd.NA
    folder.mkdir()
    with duckdb.connect(str(folder / "restock.duckdb")) as con:
        con.execute("create table examples as from example")
        con.execute("create table targets as select distinct cutoff, user_id, split from example")
        con.execute(
            f"create table feat_users as select cutoff, user_id, {PRODUCTS} as user_product_count "
            "from targets"
        )
        con.execute(
            "create table past_items as "
            "select cutoff, user_id, product_id, 1 + product_id % 3 as order_number from examples"
        )
    columns = {
        name: {
            "data_type": "float",
            "description": f"What {name}\nis.",
            "config": {"meta": {"feature": name.partition("_")[0]}},
        }
        for name in NAMES
    }
    (folder / "target").mkdir()
    manifest = {"nodes": {"model.restock.examples": {"columns": columns}}}
    (folder / "target/manifest.json").write_text(json.dumps(manifest))


def use(monkeypatch: pytest.MonkeyPatch, folder: Path, **variables: str) -> None:
    """Let the library read the warehouse of a folder."""
    settings = {
        "RESTOCK_WAREHOUSE": str(folder / "restock.duckdb"),
        "DBT_TARGET_PATH": str(folder / "target"),
    }
    for name, value in (settings | variables).items():
        monkeypatch.setenv(name, value)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[int, Path]:
    folders = {}
    for shoppers in (14, 120):
        folders[shoppers] = tmp_path_factory.mktemp("library") / "shop"
        warehouse(folders[shoppers], shoppers)
    return folders


@pytest.fixture
def shop(made: dict[int, Path], monkeypatch: pytest.MonkeyPatch) -> Path:
    """The workspace of a shop of 120 shoppers."""
    use(monkeypatch, made[120])
    return made[120]


@pytest.fixture
def few(made: dict[int, Path], monkeypatch: pytest.MonkeyPatch) -> Path:
    """The workspace of a shop of 14 shoppers."""
    use(monkeypatch, made[14])
    return made[14]


class Memory(ClassifierMixin, BaseEstimator):
    """Knows the rows that it was fitted on, and nothing about others. Notes what it sees."""

    seen: ClassVar[list[tuple[set[int], set[int]]]] = []

    def fit(self, X: pd.DataFrame, y: Any, sample_weight: Any = None) -> "Memory":
        assert list(X) == list(NAMES)
        assert sample_weight is not None
        self.classes_ = np.array([0, 1])
        self.known_ = dict(zip(self.rows(X), y, strict=True))
        self.fitted_on_ = set(X["user_number"].astype(int))
        return self

    def rows(self, X: pd.DataFrame) -> list[tuple[float, ...]]:
        return [tuple(row) for row in X.fillna(-1).to_numpy()]

    def predict_proba(self, X: pd.DataFrame) -> Any:
        self.seen.append((self.fitted_on_, set(X["user_number"].astype(int))))
        p = np.array([self.known_.get(row, row[1] * 9 % 1) for row in self.rows(X)])
        return np.column_stack([1 - p, p])


def sound(columns: list[str] = CHOSEN) -> Any:
    """A classifier that picks its columns by name."""
    chosen = make_column_transformer((make_pipeline(SimpleImputer(), StandardScaler()), columns))
    return make_pipeline(chosen, LogisticRegression())


def test_import_takes_no_library() -> None:
    code = "import sys, ml; print(*({'numpy', 'pandas', 'sklearn'} & sys.modules.keys()))"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == []


def test_ml_has_only_what_it_lists() -> None:
    import ml

    assert {name: callable(getattr(ml, name)) for name in ml.__all__} == dict.fromkeys(
        ("evaluate", "examples", "features", "fit", "why"), True
    )
    with pytest.raises(AttributeError, match="'ml' has no attribute 'explain'"):
        ml.explain  # noqa: B018


@pytest.mark.parametrize(("cutoff", "split"), [(1, "train"), (2, "test"), (0, "validation")])
def test_examples_are_the_rows_of_the_warehouse(shop: Path, cutoff: int, split: str) -> None:
    found = examples(cutoff, split)
    with duckdb.connect(str(shop / "restock.duckdb"), read_only=True) as con:
        expected = con.execute(
            "select * exclude (cutoff, split) from examples where cutoff = ? and split = ? "
            "order by user_id, product_id",
            [cutoff, split],
        ).df()
    expected = expected.set_index(["user_id", "product_id"])
    assert list(found) == ["label", *NAMES] if cutoff else list(NAMES)
    pd.testing.assert_frame_equal(found, expected[list(found)], check_dtype=False)
    assert set(found[[*NAMES]].dtypes) == {np.dtype("float32")}


def test_an_unknown_split_is_no_empty_frame(shop: Path) -> None:
    with pytest.raises(ValueError, match="unknown split 'training': choose one of train, val"):
        examples(1, "training")
    with pytest.raises(RestockError, match="no labelled orders where cutoff in \\(7\\)"):
        examples(7)


def test_features_say_what_they_mean(shop: Path) -> None:
    listed = features()
    assert list(listed.index) == list(NAMES) == list(examples())[1:]
    assert listed.loc["pair_order_share"].to_dict() == {
        "group": "pair",
        "description": "What pair_order_share is.",
    }


def test_predictions_have_the_index_of_the_examples_in_any_order(shop: Path) -> None:
    model, test = fit("personal_frequency"), examples(split="test")
    probability = model.predict(test)
    assert probability.index.equals(test.index) and probability.between(0, 1).all()
    shuffled = test.sample(frac=1, random_state=1)[[*NAMES[::-1], "label"]]
    pd.testing.assert_series_equal(model.predict(shuffled), probability[shuffled.index])
    with pytest.raises(KeyError, match="pair_order_share"):
        model.predict(test.drop(columns="pair_order_share"))


@pytest.mark.parametrize(
    "estimator",
    ["logistic_regression", "personal_frequency", "auto", ("mine", sound())],
    ids=["model", "rule", "auto", "own"],
)
def test_the_figures_are_those_of_the_predictions(shop: Path, estimator: Any) -> None:
    scores, model = evaluate(estimator), fit(estimator)
    test = examples(split="test")
    probability = model.predict(test)
    value = scores["value"].xs(model.name, level="model")
    assert value["auc"] == pytest.approx(roc_auc_score(test.label, probability))
    assert value["log_loss"] == pytest.approx(log_loss(test.label, probability))
    top = probability.groupby("user_id").rank(ascending=False, method="first") <= 5
    hits = test.label[top].groupby("user_id").sum()
    assert value["precision_at_5"] == pytest.approx((hits / 5).mean(), abs=0.01)
    assert scores.attrs == {
        "protocol": "holdout",
        "shoppers": len(hits),
        "pairs": len(test),
    }


def test_differences_are_the_first_minus_the_others(shop: Path) -> None:
    scores = evaluate(("mine", sound()), "logistic_regression")
    auc = scores.loc["auc"]
    assert list(auc.index) == [
        *("mine", "logistic_regression", "personal_frequency", "recency_decay", "last_basket"),
        *("tifu_knn", "up_cf", "ceiling"),
    ]
    others = auc.drop(["mine", "ceiling"])
    assert auc.loc["ceiling", "value"] == 1
    assert auc.loc[["mine", "ceiling"], "difference"].isna().all()
    assert list(others.difference) == pytest.approx(list(auc.value["mine"] - others.value))
    assert others.difference.between(others.difference_low, others.difference_high).all()
    # A rule that only ranks has no log-loss.
    known = scores.loc["log_loss", "value"].dropna()
    assert list(known.index) == ["mine", "logistic_regression"]
    assert scores.loc["log_loss", "difference"].dropna().index == ["logistic_regression"]


@pytest.mark.parametrize("folds", [0, 3])
def test_no_shopper_is_both_learned_from_and_measured_on(shop: Path, folds: int) -> None:
    Memory.seen.clear()
    scores = evaluate(Memory(), folds=folds)
    # Each fit is followed by the scores that calibrate it, then by those that measure it.
    calibrated, measured = Memory.seen[::2], Memory.seen[1::2]
    assert len(measured) == max(folds, 1)
    for (training, validation), (_, tested) in zip(calibrated, measured, strict=True):
        assert training and validation and tested
        assert not (training & validation or training & tested or validation & tested)
    everyone = [user for _, tested in measured for user in tested]
    test = set(range(1, 121)) if folds else set(examples(split="test").index.levels[0])
    assert sorted(everyone) == sorted(test), "each of them once"
    assert scores.loc[("auc", "Memory"), "value"] == pytest.approx(0.5, abs=0.1)


def test_what_an_estimator_learned_before_does_not_count(shop: Path) -> None:
    test = examples(split="test")
    X, y = test[[*NAMES]], test["label"]
    cheat = Memory().fit(X, y, np.ones(len(y)))
    known = cheat.known_.copy()
    assert roc_auc_score(y, cheat.predict_proba(X)[:, 1]) == 1
    pd.testing.assert_frame_equal(evaluate(cheat), evaluate(Memory()))
    assert cheat.known_ == known, "the estimator itself is left as it was"
    for frozen in (
        FrozenEstimator(cheat),
        make_pipeline("passthrough", FrozenEstimator(cheat)),
        VotingClassifier([("cheat", FrozenEstimator(cheat))], voting="soft"),
    ):
        with pytest.raises(ValueError, match="frozen, and may have learned from test shoppers"):
            evaluate(frozen)


def test_few_shoppers_are_measured_by_folds(few: Path) -> None:
    Memory.seen.clear()
    scores = evaluate(("mine", Memory()))
    assert (scores.attrs["protocol"], scores.attrs["shoppers"]) == ("5-fold", 14)
    assert sorted(user for _, tested in Memory.seen[1::2] for user in tested) == [*range(1, 15)]
    Memory.seen.clear()
    fit(Memory())
    ((training, validation),) = Memory.seen
    parts = {split: set(examples(split=split).reset_index().user_id) for split in SPLITS}
    assert (training, validation) == (parts["train"], parts["validation"])
    assert parts["test"] and sorted(user for part in parts.values() for user in part) == [
        *range(1, 15)
    ]
    with pytest.raises(SettingsError, match="too few for 99 folds"):
        evaluate(Memory(), folds=99)


@pytest.mark.parametrize(
    ("estimators", "error", "said"),
    [
        ([], TypeError, "needs an estimator, such as 'gradient_boosting'"),
        (["gradient_bosting"], SettingsError, "unknown model 'gradient_bosting': choose one of"),
        ([LogisticRegression], TypeError, "is no estimator: pass a model's name, an instance"),
        ([("mine", "random_forest")], TypeError, "'random_forest' is no estimator"),
        ([LinearSVC()], TypeError, "LinearSVC has no predict_proba"),
        ([KNeighborsClassifier()], TypeError, "KNeighborsClassifier takes no sample_weight"),
        ([Memory(), Memory()], ValueError, "two estimators are named Memory: pass \\(name"),
    ],
)
def test_an_estimator_that_cannot_be_used_is_named(
    shop: Path, estimators: list[Any], error: type[Exception], said: str
) -> None:
    with pytest.raises(error, match=said):
        evaluate(*estimators)


def test_a_fitted_model_is_fitted_again_to_be_evaluated(shop: Path) -> None:
    with pytest.raises(TypeError, match=r"FittedModel.*is no estimator: pass a model's name"):
        evaluate(fit("personal_frequency"))
    with pytest.raises(ValueError, match="folds=1: use 2 or more"):
        evaluate("personal_frequency", folds=1)


def test_an_open_connection_of_the_notebook_is_named(shop: Path) -> None:
    path = shop / "restock.duckdb"
    with (
        duckdb.connect(str(path), read_only=True),
        pytest.raises(BusyError, match="open in this process with other settings"),
    ):
        examples()
    assert len(examples())


@pytest.mark.slow
def test_the_figures_are_those_of_the_evaluation_job(
    published: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(monkeypatch, published.folder, RESTOCK_TRAINING_ROWS=str(TRAINING_ROWS))
    scores = evaluate("gradient_boosting")
    ends = {"": "value", "_low": "low", "_high": "high"}
    measured = {
        (metric.removesuffix(end), model, column): value
        for model, metric, value in published.query(
            "select model_name, metric, value from ml.metrics where protocol = 'holdout' "
            "and segment = 'all' and metric not in ('shoppers', 'pairs')"
        )
        for end, column in ends.items()
        if (end and metric.endswith(end)) or not (end or metric.endswith(("_low", "_high")))
    }
    found = scores[[*ends.values()]].stack().dropna()
    assert found.to_dict() == pytest.approx(measured, rel=1e-9)


@pytest.mark.slow
def test_why_is_that_of_the_command(published: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, published.folder)
    ((user_id, product_id),) = published.query(
        "select user_id, product_id from fct_predictions order by all limit 1"
    )
    found = why(user_id, product_id)
    assert (found["user_id"], found["product_id"]) == (user_id, product_id)
    assert found == published.restock("why", user_id, product_id)


@pytest.mark.slow
def test_the_notebook_runs_and_its_stored_outputs_are_from_this_code(published: Place) -> None:
    """Stale: run the notebook again, see docs/library.md."""
    import nbformat
    from nbclient import NotebookClient

    path = ROOT / "docs" / "notebook.ipynb"
    stored, now = nbformat.read(path, 4), nbformat.read(path, 4)
    NotebookClient(now, timeout=300).execute(env=published.environment, cwd=str(ROOT))
    cells = [
        [cell for cell in notebook.cells if cell.cell_type == "code"] for notebook in (stored, now)
    ]
    assert [cell.execution_count for cell in cells[0]] == [*range(1, len(cells[0]) + 1)]
    for before, after in zip(*cells, strict=True):
        assert shape(before) == shape(after)


def shape(cell: Any) -> list[list[str]]:
    """Return the column names of each table that a cell shows; a cell shows nothing else."""
    tables = [output.data["text/html"] for output in cell.outputs]
    heads = [re.findall(r"<thead>(.*?)</thead>", table, re.DOTALL) for table in tables]
    return [re.findall(r"<th.*?>(.*?)</th>", head, re.DOTALL) for (head,) in heads]
