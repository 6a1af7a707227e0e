"""The gate: what it promotes and refuses, and what a run does with a refused challenger."""

import json
import shutil
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from conftest import Once, Place
from gate_mutants import mutants
from test_lifecycle import listed
from test_run import SAME

from ml.jobs import comparison, train
from ml.jobs import gate as job
from ml.jobs.task import PURCHASES, REORDER
from ml.modelling import gate
from ml.modelling.basket import f1
from ml.modelling.gate import Difference
from ml.modelling.metrics import Estimate
from ml.modelling.model import Model
from ml.modelling.rules import Score
from ml.modelling.verdict import BETTER, CHANCE, WORSE, Verdict
from ml.progress import silent
from ml.registry import decisions, versions
from ml.registry.decisions import Decision
from ml.settings import Settings
from ml.warehouse.examples import Examples
from ml.warehouse.feature_list import Feature
from ml.warehouse.sampling import Sample


def differences(loss: tuple[float, ...], of_f1: tuple[float, ...]) -> dict[str, Difference]:
    """Differences of a champion with a log-loss of 0.5."""
    return {
        "log_loss": Difference(0.5, Estimate(*loss)),
        "mean_f1": Difference(0.3, Estimate(*of_f1)),
    }


def verdict(conclusion: str) -> Verdict:
    value = {BETTER: 0.1, WORSE: -0.1, CHANCE: 0}[conclusion]
    difference = Estimate(value, value - 0.05, value + 0.05)
    return Verdict("recency_decay", 300, 0.5, 0.5, difference)


NO_F1 = (0.0, -0.01, 0.01)


@pytest.mark.parametrize(
    ("loss", "of_f1", "against"),
    [
        ((0, -0.001, 0.0049), NO_F1, ""),
        ((0, -0.001, 0.005), NO_F1, "log-loss may be +1.0%"),
        ((-0.1, -0.2, -0.05), (-0.02, -0.03, 0.001), ""),
        ((-0.1, -0.2, -0.05), (-0.02, -0.03, -0.001), "mean f1 is lower"),
    ],
)
def test_a_challenger_may_be_worse_by_less_than_the_margin(
    loss: tuple[float, ...], of_f1: tuple[float, ...], against: str
) -> None:
    found = gate.faults(differences(loss, of_f1), None, None)
    assert bool(found) == bool(against)
    assert against in "; ".join(found)


@pytest.mark.parametrize(
    ("challenger", "champion", "passes"),
    [(WORSE, WORSE, False), (WORSE, CHANCE, True), (BETTER, WORSE, True)],
)
def test_a_simple_rule_that_is_better_than_both_models_keeps_the_champion(
    challenger: str, champion: str, passes: bool
) -> None:
    found = gate.faults(
        differences((0, -0.001, 0.001), NO_F1), verdict(challenger), verdict(champion)
    )
    assert bool(found) != passes


def test_both_models_are_measured_on_the_same_resamples() -> None:
    """What makes a shopper hard cancels out, so the interval is that of the paired differences."""
    rng = np.random.default_rng(0)
    hard, one = rng.exponential(size=400), np.ones(400)
    gain = rng.normal(0.01, 0.02, size=400)
    found = gate.compare({"log_loss": (hard, one)}, {"log_loss": (hard + gain, one)}, one)
    loss = found["log_loss"]
    assert loss.champion == pytest.approx(hard.mean())
    assert loss.difference.value == pytest.approx(gain.mean())
    half = 1.96 * gain.std() / 20
    assert loss.difference.high - loss.difference.low == pytest.approx(2 * half, rel=0.1)


def test_a_task_is_gated_by_what_its_rule_measures() -> None:
    label, offsets = np.array([1, 0, 1]), np.array([0, 2, 3])
    chosen = np.array([True, True, False])
    score = Score(np.array([0.9, 0.2, 0.4]), True, chosen)
    of_pairs = REORDER.rule.gated(score, label, offsets)
    assert of_pairs["mean_f1"][0] == pytest.approx(f1(chosen, label, offsets))
    assert of_pairs["log_loss"][0] == pytest.approx([-np.log(0.9 * 0.8), -np.log(0.4)])
    for task in PURCHASES.values():
        of_days = task.rule.gated(score, label, offsets)
        assert of_days.keys() == {"log_loss"}
        assert np.array_equal(of_days["log_loss"][0], of_pairs["log_loss"][0])


# --- mutants --------------------------------------------------------------------------------------

GROUPS = ("pairs", "users")
COLUMNS = [Feature(f"{group}_{n}", "float", group) for group in GROUPS for n in range(6)]
TRUTH = np.array([1, -1, 0.5, 0.5, -0.5, 0.5])


def made_up(shoppers: int, seed: int) -> tuple[Sample, Examples]:
    """Pairs with six features of their own and six of their shopper, all of which matter."""
    rng, each = np.random.default_rng(seed), 20
    rows = each * shoppers
    X = rng.normal(size=(rows, len(COLUMNS))).astype(np.float32)
    X[:, 6:] = X[::each, 6:].repeat(each, axis=0)
    signal = X[:, :6] @ TRUTH + 0.5 * X[:, 6:] @ TRUTH + X[:, 0] * X[:, 7] - 1
    label = (rng.random(rows) < 1 / (1 + np.exp(-signal))).astype(np.int8)
    users = np.arange(shoppers) + 1_000_000 * seed
    return (
        Sample(X, label, np.ones(rows, np.float32), users.repeat(each)),
        Examples(
            pa.array(users),
            pa.chunked_array([np.tile(np.arange(each), shoppers)]),
            each * np.arange(shoppers + 1),
            X,
            label,
        ),
    )


@cache
def fitted_champion() -> Model:
    learned, _ = made_up(600, seed=1)
    return train.fit(SETTINGS, COLUMNS, learned, made_up(200, seed=2)[1])


SETTINGS = replace(Settings.load(), parameters={"n_estimators": 60}, threads=2)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [11, 12, 13])
def test_the_gate_refuses_mutants_and_passes_another_seed(seed: int) -> None:
    learned, _ = made_up(600, seed=1)
    held, test = made_up(200, seed=2)[1], made_up(400, seed=3)[1]
    champion = fitted_champion()
    settings = replace(SETTINGS, seed=seed)
    for name, expected, data in mutants(learned, held, COLUMNS, seed):
        challenger = train.fit(settings, COLUMNS, *data)
        compared = job.compare(REORDER, test, {}, challenger, champion, seed=7)
        decided = job.judged(Decision("reorder", "undecided"), compared)
        assert decided.decision == expected, f"{name}: {decided.reason}"
        assert decided.is_promoted == (expected == decisions.PROMOTED)


# --- decisions ------------------------------------------------------------------------------------


@pytest.fixture
def settings(published: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """The settings of a run after `published`, with models of its own: the champion again."""
    monkeypatch.setenv("DBT_TARGET_PATH", published.environment["DBT_TARGET_PATH"])
    settings = Settings.load(source="instacart", warehouse=published.warehouse)
    version = published.model.resolve()
    shutil.copytree(version, tmp_path / version.name)
    versions.promote(tmp_path, version.name, versions.ALIAS)
    return replace(settings, models=tmp_path)


def decided(settings: Settings, published: Settings, rules: Sequence[str] = ()) -> Decision:
    challenger = versions.production(settings.models).name
    result = job.decide(
        settings, silent, REORDER, challenger=challenger, published=published, rules=rules
    )
    return Decision(**result["decision"])


@pytest.mark.slow
def test_few_test_shoppers_tell_too_little_but_for_an_old_model(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = decided(settings, settings)
    assert (found.decision, found.is_promoted) == (decisions.TOO_FEW, False)
    assert found.test_shopper_count is not None
    assert 50 < found.test_shopper_count < gate.MINIMUM_SHOPPERS
    # The challenger is the champion here. Its figures are kept, although it does not serve.
    assert found.log_loss_difference == found.mean_f1_difference_high == 0
    card = versions.metadata(settings.models)
    assert card["metrics"]["log_loss"] == pytest.approx(found.log_loss)
    assert card["metrics"]["mean_f1"] == pytest.approx(found.mean_f1)

    found = decided(settings, settings, ["changed_shoppers_share", job.AGE])
    assert (found.decision, found.is_promoted) == (decisions.TOO_FEW, True)

    monkeypatch.setattr(gate, "MINIMUM_SHOPPERS", 50)
    found = decided(settings, settings)
    assert (found.decision, found.is_promoted) == (decisions.PROMOTED, True)


@pytest.mark.slow
def test_a_champion_of_other_features_is_not_comparable(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The challenger is promoted, unless a simple rule is better."""
    other = replace(settings, models=tmp_path / "other")
    version = versions.production(settings.models)
    shutil.copytree(version, other.models / version.name)
    versions.promote(other.models, version.name, versions.ALIAS)
    card = other.models / version.name / "model.json"
    card.write_text(card.read_text().replace("pair_order_share", "pair_old_share"))
    found = decided(settings, other)
    assert (found.decision, found.is_promoted) == (decisions.NOT_COMPARABLE, True)
    assert "trained on different features" in found.reason
    assert found.log_loss_difference is None and found.baseline

    monkeypatch.setattr(job, "compare_with_rules", lambda *_: verdict(WORSE))
    found = decided(settings, other)
    assert (found.decision, found.is_promoted) == (decisions.NOT_COMPARABLE, False)
    assert found.reason.endswith("recency decay is better")


def test_another_threshold_is_no_change_of_the_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(comparison, "CODE", (tmp_path,))
    digests = [comparison.made_by(Settings.load())]
    for name in (comparison.RULES, "risk_bands.csv"):
        (tmp_path / name).write_text("rule,threshold\n")
        digests.append(comparison.made_by(Settings.load()))
    assert digests[0] == digests[1] != digests[2]


# --- runs -----------------------------------------------------------------------------------------

FEWER = {"RESTOCK_TRAINING_ROWS": "1000"}
EVALUATED = "select * from ml.metrics order by all"


@pytest.fixture(scope="module")
def refused(once: Once, published: Place, next_day: Path) -> Place:
    """The place of a run on the next day whose model the gate did not promote.

    It learned from fewer rows, and the test shoppers are too few to tell.
    """

    def run(folder: Path) -> None:
        shutil.copytree(published.folder, folder, dirs_exist_ok=True, symlinks=True)
        arguments = ("run", "--source", "instacart", "--raw-dir", next_day)
        summary = Place(folder).restock(*arguments, **FEWER)
        (folder / "summary.json").write_text(json.dumps(summary))

    return Place(once("refused", run))


@pytest.mark.slow
def test_after_a_refusal_the_champion_scores_the_new_orders(
    refused: Place, published: Place, incremented: Place
) -> None:
    summary = json.loads((refused.folder / "summary.json").read_text())
    assert list(summary) == ["fetch", "update", "build", "train", "gate", "index", "report"]
    assert refused.model.resolve().name == published.model.resolve().name
    assert refused.query(SAME) == incremented.query(SAME)
    assert refused.query("select model_version from rpt_score_summary") == [
        (published.model.resolve().name,)
    ]
    # What the pages say of the model is what was measured of the champion.
    assert refused.query(EVALUATED) == published.query(EVALUATED)


@pytest.mark.slow
def test_the_release_of_a_refusal_shows_its_decision(refused: Place) -> None:
    champion = refused.model.resolve().name
    summary = json.loads((refused.folder / "summary.json").read_text())
    challenger = summary["train"]["model"]
    assert refused.query(
        "select decision, is_promoted, rules, champion, challenger, test_shopper_count > 50 "
        "from ml.decisions order by decided_at"
    ) == [
        ("first", True, "", None, champion, None),
        ("too few to tell", False, "code_changed", champion, challenger, True),
    ]
    status = refused.restock("status")
    assert status["last_decision"]["challenger"] == challenger
    assert status["last_run"]["decision"] == "too few to tell"
    assert {rule["rule"]: rule["value"] for rule in status["rules"]}["new_lines_share"] == 0
    assert [rule["is_fired"] for rule in status["rules"]] == [False] * 6
    newest, serving = listed(refused, "models")
    assert (newest["model_version"], newest["decision"]) == (challenger, "too few to tell")
    assert newest["metrics"]["log_loss"] > serving["metrics"]["log_loss"]
    assert f"{challenger}  reorder  too few to tell" in refused.call("restock", "models").stdout
    assert "reorder, too few to tell" in refused.call("restock", "status").stdout


@pytest.mark.slow
def test_no_other_model_is_trained_with_the_same_data(
    refused: Place, place: Place, next_day: Path
) -> None:
    shutil.copytree(refused.folder, place.folder, dirs_exist_ok=True, symlinks=True)
    for option in ((), ("--full",)):
        arguments = ("run", "--source", "instacart", "--raw-dir", next_day, *option)
        summary = place.restock(*arguments, **FEWER)
        assert list(summary) == ["fetch", "update"]
        assert "which learned from the same data" in summary["update"]["note"]
    assert place.restock("status")["last_decision"]["decision"] == "kept"
