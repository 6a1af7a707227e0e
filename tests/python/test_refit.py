"""The model that serves may learn from test shoppers. The one that is measured never does."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import NoReturn

import numpy as np
import pytest
from conftest import TRAINING_ROWS, Place

from ml.errors import RestockError
from ml.jobs import gate, score, train
from ml.jobs.evaluate import evaluate
from ml.jobs.task import REORDER
from ml.modelling.basket import Floats
from ml.modelling.model import Model
from ml.progress import silent
from ml.registry import versions
from ml.settings import Settings
from ml.warehouse import connection, examples
from ml.warehouse.feature_list import Feature, features

FEATURES = [Feature("pair_order_share", "FLOAT", "pairs")]


def test_a_version_keeps_the_model_that_serves_and_the_one_that_is_measured(
    tmp_path: Path,
) -> None:
    serves, measured = (Model(None, None, None, name) for name in ("serves", "measured"))
    card = {"model_name": "some", "task": "reorder"}
    refitted = versions.save(tmp_path, serves, measured, FEATURES, card)
    assert versions.load(tmp_path, FEATURES, refitted.name)[0].name == "serves"
    assert versions.load_measured(tmp_path, FEATURES, refitted.name)[0].name == "measured"

    once = versions.save(tmp_path, measured, measured, FEATURES, card)
    assert not (once / versions.MEASURED).exists()
    assert versions.load(tmp_path, FEATURES, once.name)[0].name == "measured"
    assert versions.load_measured(tmp_path, FEATURES, once.name)[0].name == "measured"

    (refitted / versions.MEASURED).write_bytes(b"other")
    for load in (versions.load, versions.load_measured):
        with pytest.raises(RestockError, match=r"measured.joblib is missing or does not match"):
            load(tmp_path, FEATURES, refitted.name)


@pytest.fixture
def settings(published: Place, instacart_files: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.setenv("DBT_TARGET_PATH", published.environment["DBT_TARGET_PATH"])
    loaded = Settings.load(raw_dir=instacart_files, warehouse=published.warehouse)
    return replace(loaded, source="instacart", training_rows=TRAINING_ROWS)


def losses(settings: Settings, *models: Model) -> list[float]:
    """Return the log-loss of models on test shoppers."""
    with connection.connect(settings, read_only=True) as con:
        test = examples.read_part(con, features(settings), REORDER.parts["test"])
    found: list[Floats] = [np.clip(model.predict(test.X), 1e-9, 1 - 1e-9) for model in models]
    return [float(-np.mean(np.where(test.label == 1, np.log(p), np.log(1 - p)))) for p in found]


@pytest.mark.slow
def test_few_shoppers_all_teach_the_model_that_serves(settings: Settings) -> None:
    columns = features(settings)
    serves, card = versions.load(settings.models, columns)
    measured, _ = versions.load_measured(settings.models, columns)
    with connection.connect(settings, read_only=True) as con:
        labelled = connection.scalar(
            con, "select count(distinct user_id) from examples where cutoff > 0"
        )
        assert labelled >= card["refit_shoppers"] > card["training_shoppers"]
        published, tested = (
            np.array([p for (p,) in con.execute(f"{sql} order by user_id, product_id").fetchall()])
            for sql in (
                "select reorder_probability from ml.predictions",
                "select reorder_probability from ml.test_predictions",
            )
        )
        now = examples.read_part(con, columns, REORDER.parts["now"])
        test = examples.read_part(con, columns, REORDER.parts["test"])
    # Scores are of the one, figures of the other.
    assert np.array_equal(np.sort(published), np.sort(serves.predict(now.X).astype(np.float32)))
    assert np.array_equal(np.sort(tested), np.sort(measured.predict(test.X).astype(np.float32)))
    assert serves.calibrator is not None and serves.rule == measured.rule
    # A figure of the model that serves would be too good: it knows the test shoppers.
    of_serving, of_measured = losses(settings, serves, measured)
    assert of_serving < 0.97 * of_measured
    assert card["metrics"]["log_loss"] == pytest.approx(of_measured)


@pytest.mark.slow
def test_a_refit_changes_no_figure(settings: Settings, tmp_path: Path) -> None:
    found = []
    for shoppers, is_refit in ((settings.refit_below, True), (0, False)):
        mine = replace(settings, models=tmp_path / str(shoppers), refit_below=shoppers)
        version = train.train(mine, silent)["model"]
        assert (mine.models / version / versions.MEASURED).exists() == is_refit
        assert (versions.metadata(mine.models, version)["refit_shoppers"] > 0) == is_refit
        found.append(losses(mine, versions.load_measured(mine.models, features(mine), version)[0]))
    assert found[0] == found[1]


@pytest.mark.slow
def test_no_job_that_measures_loads_the_model_that_serves(
    settings: Settings, published: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(published.folder, tmp_path, dirs_exist_ok=True, symlinks=True)
    moved = Settings.load(raw_dir=settings.raw_dir, warehouse=tmp_path / settings.warehouse.name)
    mine = replace(moved, source=settings.source)
    version = versions.production(mine.models).name

    def fail(*_: object) -> NoReturn:
        raise AssertionError("the model that serves")

    with monkeypatch.context() as patched:
        patched.setattr(versions, "load", fail)
        figures = evaluate(mine, silent)["figures"][settings.model]
        decided = gate.decide(mine, silent, REORDER, challenger=version, published=mine, rules=())[
            "decision"
        ]
        assert decided["log_loss"] == pytest.approx(figures["log_loss"].value)
        with pytest.raises(AssertionError, match="the model that serves"):
            score.score(mine, silent)
    monkeypatch.setattr(versions, "load_measured", fail)
    score.score(mine, silent)


@pytest.mark.slow
def test_the_audit_says_that_the_serving_model_was_refitted(
    published: Place, tmp_path: Path
) -> None:
    shutil.copytree(published.folder, tmp_path, dirs_exist_ok=True, symlinks=True)
    place = Place(tmp_path)
    said = place.restock("audit", "--source", "instacart")["audit"]
    shoppers = json.loads((place.model / "model.json").read_text())["refit_shoppers"]
    assert f"learned from {shoppers} labelled shoppers" in said["notes"][0]
