"""The model card says what the last evaluation found, of the features and model that are here."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT, Place, needs_shared_data

from ml.jobs import model_card
from ml.jobs.evaluation_report import EvaluationReport
from ml.jobs.task import TASKS
from ml.modelling import metrics
from ml.modelling.discovery import Measured
from ml.settings import Settings
from ml.warehouse.feature_list import Feature, features

CARD = ROOT / "docs" / "model_card.md"
FIGURES = sorted(CARD.with_suffix("").glob("*.json"))


def test_the_card_is_what_its_figures_render_to() -> None:
    assert {path.stem for path in FIGURES} == {
        *("complete_journey.reorder", "instacart.reorder"),
        *("complete_journey.purchase", "complete_journey.purchase_week"),
    }
    assert CARD.read_text() == model_card.render(CARD.with_suffix(""))


@pytest.mark.slow
@pytest.mark.parametrize(
    "path",
    [
        # Instacart's figures can only be measured where Kaggle's files are.
        pytest.param(
            path, marks=needs_shared_data if "instacart" in path.stem else (), id=path.stem
        )
        for path in FIGURES
    ],
)
def test_the_figures_are_of_this_model_and_these_features(
    path: Path, published: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stale: run the commands at the top of the card; see CONTRIBUTING.md."""
    monkeypatch.setenv("DBT_TARGET_PATH", str(published.target))
    settings = Settings.load()
    written = json.loads(path.read_text())
    task = TASKS[path.stem.partition(".")[2]]
    now = model_card.made_with(settings, features(settings, task.table.name), task)
    assert {name: written[name] for name in now} == now


def test_a_card_is_written_from_one_evaluation(tmp_path: Path) -> None:
    names = ("auc", "log_loss", "precision_at_5", "mean_f1", "expected_calibration_error")
    values = {f"{name}{suffix}": 0.25 for name in names for suffix in ("", "_low", "_high")}
    values |= {"shoppers": 120, "pairs": 900, "mean_predicted": 0.125, "mean_observed": 0.375}
    rows = [
        ("run", "gradient_boosting", "test", "5-fold", segment, metric, value)
        for segment in ("all", "context=typical", "training_shoppers=70")
        for metric, value in values.items()
    ]
    bins = metrics.reliability_bins(np.array([0.1, 0.9]), np.array([0, 1]))
    settings = Settings.load()
    columns = [Feature("pair_purchase_count", "integer", "pairs")]
    report = EvaluationReport(settings, "gradient_boosting", "5-fold")
    report.rows = rows
    report.differences = {"up_cf": {"auc": metrics.Estimate(0.0625, 0.03125, 0.125)}}
    found = {"recall_at_10": metrics.Estimate(0.5, 0.25, 0.75)}
    figures = dict.fromkeys(("ease", "popularity"), found)
    figures["ease"] = found | {"mean_predicted": metrics.Estimate(0.0625, 0, 1)}
    figures["ease"] |= {"mean_observed": metrics.Estimate(0.03125, 0, 1)}
    report.discovered = Measured(figures, {"popularity": found}, shoppers=80, rows=1200)
    model_card.write(tmp_path / "card.md", settings, columns, report, bins, None)
    text = (tmp_path / "card.md").read_text()
    assert "| **gradient boosting** | 0.2500 (0.2500 to 0.2500) |" in text
    assert "120 shoppers with a labelled order and 900 pairs" in text
    assert "37.5% were bought again. The data have no dates.\n" in text
    assert "Weakest: context: typical (AUC 0.250)" in text
    assert "| 70 | 0.2500 (0.2500 to 0.2500) |" in text
    assert "| UP-CF | +0.0625 (+0.0312 to +0.1250) |" in text
    assert "80 shoppers bought a product for the first time" in text
    assert "| popularity | 0.5000 (0.2500 to 0.7500) |" in text
    assert "On average, 6.25% were expected and 3.12% were bought.\n" in text


def test_a_card_names_a_rule_that_is_served(tmp_path: Path) -> None:
    rows = [
        ("run", "last_basket", "test", "5-fold", "all", name, 0.25) for name in model_card.SHOWN
    ]
    bins = metrics.reliability_bins(np.array([0.1, 0.9]), np.array([0, 1]))
    settings = replace(Settings.load(), model="auto").for_model("last_basket")
    report = EvaluationReport(settings, "last_basket", "5-fold")
    report.rows = rows
    model_card.write(tmp_path / "card.md", settings, [], report, bins, None)
    text = (tmp_path / "card.md").read_text()
    assert "One model serves all shoppers and products: last basket.\n" in text
    assert "| **last basket** | 0.2500 |" in text


def test_figures_of_an_earlier_model_are_marked(tmp_path: Path) -> None:
    journey = json.loads((CARD.with_suffix("") / "complete_journey.reorder.json").read_text())
    other = journey | {"source": "instacart"}
    (tmp_path / "complete_journey.reorder.json").write_text(json.dumps(journey))
    (tmp_path / "instacart.reorder.json").write_text(json.dumps(other))
    assert "Out of date" not in model_card.render(tmp_path)
    (tmp_path / "instacart.reorder.json").write_text(json.dumps(other | {"feature_version": "old"}))
    before, after = model_card.render(tmp_path).split("### Instacart")
    assert "Out of date" not in before
    assert (
        "**Out of date:** these figures are of an earlier model (feature version `old`)." in after
    )
