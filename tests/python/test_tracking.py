"""MLflow looks like the registry, and its models predict what Restock published."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from conftest import ROOT, Place

from ml.errors import SettingsError
from ml.progress import silent
from ml.registry import pyfunc, tracking, versions
from ml.settings import Settings

pytestmark = pytest.mark.slow

PREDICT = """
import sys
import mlflow
import pandas as pd

model = mlflow.pyfunc.load_model("models:/restock@production")
model.predict(pd.read_parquet(sys.argv[1])).tofile(sys.argv[2])
"""


@pytest.fixture
def settings(published_twice: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Return settings of a published release with two versions, and ask for a mirror."""
    monkeypatch.setenv(tracking.VARIABLE, f"sqlite:///{tmp_path}/mlflow.db")
    return Settings.load(source="instacart", warehouse=published_twice.warehouse)


@pytest.fixture
def client(settings: Settings, tmp_path: Path) -> Any:
    from mlflow import MlflowClient

    return MlflowClient(f"sqlite:///{tmp_path}/mlflow.db")


def runs(client: Any) -> list[Any]:
    experiment = client.get_experiment_by_name(tracking.EXPERIMENT)
    return client.search_runs([experiment.experiment_id])


def test_the_production_model_predicts_the_published_probabilities(
    settings: Settings, client: Any, published_twice: Place, tmp_path: Path
) -> None:
    assert tracking.is_asked()
    tracking.mirror(settings, silent)
    features = [feature["name"] for feature in versions.metadata(settings.models)["features"]]
    rows = published_twice.query(
        f"select reorder_probability, {', '.join(features)} from examples "
        "inner join fct_predictions using (user_id, product_id) where cutoff = 0 limit 5000"
    )
    frame = pd.DataFrame(rows, columns=["published", *features]).astype("float32")
    frame[features].to_parquet(tmp_path / "features.parquet")
    found = tmp_path / "found"
    subprocess.run(
        [sys.executable, "-c", PREDICT, str(tmp_path / "features.parquet"), str(found)],
        check=True,
        cwd=tmp_path,
        capture_output=True,
    )
    predicted = pd.Series(memoryview(found.read_bytes()).cast("d")).astype("float32")
    assert len(predicted) > 1_000
    pd.testing.assert_series_equal(
        predicted, frame["published"], check_exact=True, check_names=False
    )


def test_mirroring_again_changes_nothing(settings: Settings, client: Any) -> None:
    tracking.mirror(settings, silent)
    known = {card["model_version"] for card in versions.known(settings.models)}
    first = {run.info.run_id: (run.data.params, run.data.metrics) for run in runs(client)}
    tracking.mirror(settings, silent)
    again = {run.info.run_id: (run.data.params, run.data.metrics) for run in runs(client)}
    assert again == first and len(first) == len(known) > 1
    assert {run.data.tags[tracking.VERSION] for run in runs(client)} == known
    serving = client.get_model_version_by_alias("restock", "production")
    assert serving.tags[tracking.VERSION] == versions.production(settings.models).name
    ((name, metrics),) = [
        (run.info.run_name, run.data.metrics)
        for run in runs(client)
        if run.info.run_id == serving.run_id
    ]
    assert metrics["log_loss"] == versions.metadata(settings.models, name)["metrics"]["log_loss"]


def test_the_next_mirror_completes_one_that_was_killed(
    settings: Settings, client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(*_: object) -> str:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(pyfunc, "log", die)
        tracking.mirror(settings, silent)
    assert [run.info.status for run in runs(client)] == ["RUNNING"]
    tracking.mirror(settings, silent)
    versions_of_runs = [run.data.tags[tracking.VERSION] for run in runs(client)]
    assert len(versions_of_runs) == len(set(versions_of_runs)) > 1
    assert {run.info.status for run in runs(client)} == {"FINISHED"}
    assert client.get_model_version_by_alias("restock", "production")


def test_mlflow_that_is_asked_for_must_be_installed(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tracking, "find_spec", {}.get)
    with pytest.raises(SettingsError, match=r"pip install 'restock\[mlflow\]'"):
        tracking.is_asked()
    monkeypatch.delenv(tracking.VARIABLE)
    assert not tracking.is_asked()


def test_a_run_without_mlflow_does_not_import_it() -> None:
    code = "import sys, ml.jobs.run, ml.jobs.update; sys.exit('mlflow' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)
