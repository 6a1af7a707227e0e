"""Models of sequences: what they learn, when they serve, and that scores never vary."""

import json
import pickle
import shutil
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pytest
from conftest import Place
from scipy.special import logit
from sklearn.metrics import roc_auc_score

import ml.modelling
from ml.errors import SettingsError
from ml.jobs import train
from ml.modelling import calibration, estimators
from ml.serving.live import Live, Request, Scored
from ml.settings import Settings
from ml.warehouse.examples import Examples
from ml.warehouse.feature_list import SEQUENCES, Feature
from ml.warehouse.sampling import Sample

COLUMNS = [
    *(Feature(f"feature_{n}", "float", "pairs") for n in range(3)),
    *(Feature(name, "integer", "sequence", of=SEQUENCES) for name in ("orders", "bought", "gap")),
]
ORDERS, SHOPPERS, PAIRS = 8, 400, 10
# Few rows need smaller steps, and more of them.
STEPS = {"epochs": 6, "batch_size": 50, "learning_rate": 0.01}


@pytest.fixture
def needs_torch() -> None:
    pytest.importorskip("torch", reason="PyTorch is not installed: make deep")


def made_up(seed: int, *, by_sequence: bool = True) -> tuple[npt.NDArray[np.float32], Any]:
    """Pairs bought every second order or at random, and whether they are bought again.

    The number of purchases is the same. Otherwise the label depends on a feature.
    """
    rng = np.random.default_rng(seed)
    rows = SHOPPERS * PAIRS
    X = rng.normal(size=(rows, len(COLUMNS))).astype(np.float32)
    every_second = np.arange(rows) % 2 == 0
    shuffled = rng.permuted(np.tile([0, 1] * (ORDERS // 2), (rows, 1)), axis=1)
    alternating = [1, 0] * (ORDERS // 2)
    bits = np.where(every_second[:, None], alternating, shuffled)
    X[:, 3] = 2**ORDERS - 1
    X[:, 4] = bits @ 2 ** np.arange(ORDERS)
    X[:, 5] = rng.integers(2**ORDERS, size=rows)
    signal = np.where(every_second, -1.5, 1.5) if by_sequence else 2 * X[:, 0]
    label = (rng.random(rows) < 1 / (1 + np.exp(-signal))).astype(np.int8)
    X[rng.random(rows) < 0.1, 1] = np.nan
    return X, label


def fitted(name: str, X: Any, label: Any, **parameters: Any) -> Any:
    pipeline = estimators.make(name, seed=7, threads=1, parameters=parameters, sequences=3)
    return pipeline.fit(X, label)


@pytest.mark.usefixtures("needs_torch")
def test_the_order_of_purchases_is_learned() -> None:
    (X, label), (test, truth) = made_up(1), made_up(2)
    network = fitted("sequence", X, label, **STEPS)
    assert roc_auc_score(truth, network.predict_proba(test)[:, 1]) > 0.78
    assert len(pickle.dumps(network)) < 5_000_000


@pytest.mark.usefixtures("needs_torch")
def test_scores_are_the_same_on_every_run_and_in_every_batch() -> None:
    X, label = made_up(1)
    X[:, 3] = 2 ** np.random.default_rng(0).integers(1, ORDERS + 1, len(X)) - 1  # other lengths
    network = fitted("sequence", X, label, epochs=1)
    scores = network.predict_proba(X)
    assert np.array_equal(scores, fitted("sequence", X, label, epochs=1).predict_proba(X))
    for rows in (slice(5, 6), slice(7, 300), slice(3_000, None)):
        assert np.array_equal(scores[rows], network.predict_proba(X[rows]))
    assert network.predict_proba(X[:0]).shape == (0, 2)


@pytest.mark.usefixtures("needs_torch")
def test_what_came_before_the_first_purchase_does_not_count() -> None:
    X, label = made_up(1)
    X[:, 3] = 2**4 - 1
    network = fitted("sequence", X, label, epochs=1)
    other = X.copy()
    other[:, 4:] += 2**4 * np.random.default_rng(0).integers(0, 2**4, (len(X), 2))
    assert np.array_equal(network.predict_proba(X), network.predict_proba(other))


@pytest.mark.usefixtures("needs_torch")
def test_the_hybrid_is_the_mean_of_the_log_odds() -> None:
    X, label = made_up(1)
    hybrid = fitted("hybrid", X, label, share=0.25, network__epochs=1)
    network = fitted("sequence", X, label, epochs=1)
    trees = estimators.make("gradient_boosting", seed=7, threads=1, parameters={})
    trees.fit(X[:, :3], label)
    mean = 0.75 * logit(trees.predict_proba(X[:, :3])) + 0.25 * logit(network.predict_proba(X))
    assert logit(hybrid.predict_proba(X)) == pytest.approx(mean, abs=1e-6)


@pytest.mark.usefixtures("needs_torch")
@pytest.mark.parametrize(
    ("by_sequence", "learning_rate", "chosen", "width"),
    [(True, 0.01, "hybrid", 6), (False, 1e-9, "gradient_boosting", 3)],
)
def test_a_hybrid_serves_only_where_it_helps(
    by_sequence: bool, learning_rate: float, chosen: str, width: int
) -> None:
    steps = STEPS | {"learning_rate": learning_rate}
    parameters = {f"network__{name}": value for name, value in steps.items()}
    settings = replace(Settings.load(), model="hybrid", threads=1, parameters=parameters)
    (X, label), (held_X, held_label) = (made_up(seed, by_sequence=by_sequence) for seed in (1, 2))
    users = np.arange(SHOPPERS)
    learned = Sample(X, label, np.ones(len(X), np.float32), users.repeat(PAIRS))
    offsets = PAIRS * np.arange(SHOPPERS + 1)
    keys = pa.chunked_array([np.arange(len(X))])
    held = Examples(pa.array(users), keys, offsets, held_X, held_label)
    model = train.fit(settings, COLUMNS, learned, held)
    assert (model.name, model.width) == (chosen, width)
    assert model.log_loss.keys() == {"gradient_boosting", "hybrid"}
    # A model that reads no sequences scores the same rows without them.
    assert np.array_equal(model.predict(held_X), model.predict(held_X[:, :width]))
    named = train.fit(settings, COLUMNS, learned, held, names=["hybrid"])
    assert (named.name, named.width) == ("hybrid", 6)


def test_a_hybrid_must_help_by_two_standard_errors() -> None:
    # The paired gains are 3, 1, 2, 2: their sum is 8, and its standard error is 2 * sqrt(2 / 3).
    loss, other = np.array([1.0, 5, 2, 8]), np.array([4.0, 6, 4, 10])
    assert calibration.is_lower(loss, other - 1, errors=2)  # a sum of 4
    assert not calibration.is_lower(loss, other - 1.25, errors=2)  # a sum of 3
    assert calibration.is_lower(loss, other - 1.25)


def test_without_pytorch_one_line_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    monkeypatch.delitem(sys.modules, "ml.modelling.network", raising=False)
    monkeypatch.delattr(ml.modelling, "network", raising=False)
    for name in estimators.SEQUENTIAL:
        with pytest.raises(SettingsError, match=r"pip install 'restock\[deep\]'"):
            train.unfitted(replace(Settings.load(), model=name))


@pytest.mark.slow
@pytest.mark.usefixtures("needs_torch")
def test_a_model_of_sequences_is_trained_scored_and_asked_like_any_other(
    published: Place, instacart_files: Path, tmp_path: Path
) -> None:
    shutil.copytree(published.folder, tmp_path, dirs_exist_ok=True, symlinks=True)
    place = Place(tmp_path)
    options = ("--source", "instacart", "--raw-dir", instacart_files)
    version = place.restock("train", *options, "--model", "sequence")["train"]["model"]
    place.restock("promote", version)
    assert "torch" in json.loads((place.model / "model.json").read_text())["libraries"]
    place.restock("score", *options)
    place.restock("audit", *options)
    # Live scores compute the sequences with the SQL of the version, one shopper at a time.
    settings = Settings.load(warehouse=place.warehouse)
    live = Live(settings, version)
    of_shoppers = "select user_id from dim_users order by md5(user_id::varchar) limit 5"
    for (user_id,) in place.query(of_shoppers):
        (scored,) = live.score([Request(user_id)])
        assert isinstance(scored, Scored)
        assert dict(zip(scored.product_id, scored.probability.tolist(), strict=True)) == dict(
            place.query(
                "select product_id, reorder_probability from fct_predictions "
                f"where user_id = {user_id}"
            )
        )
    live.close()
    # The version in production decides which features are read, not the setting.
    place.restock("promote", published.model.resolve().name)
    place.restock("score", *options, RESTOCK_MODEL="sequence")
    predictions = (
        "from fct_predictions select user_id, product_id, reorder_probability order by all"
    )
    assert place.query(predictions) == published.query(predictions)
