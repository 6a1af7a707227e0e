"""Kill runs and commands at random moments, and damage raw files, and see that nothing is lost.

`python tests/python/torture.py` kills 20 runs with a new model, 20 with a model that the gate does
not promote, 20 that grade predictions, 20 that mirror models, 20 rollbacks and 20 promotions in a
simulated shop, damages 300 inputs, and ends with 1 if anything was lost.
`--write`, as `make torture` has it, puts the counts into docs/reliability.md.
"""

import argparse
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import days
import duckdb
from conftest import ROOT, Place
from mlflow import MlflowClient

from ml.registry import tracking
from ml.simulation.simulate import simulate

REPORT = ROOT / "docs" / "reliability.md"
PREDICTIONS = """
    select user_id, product_id, reorder_probability, rank_in_user, in_basket
    from fct_predictions order by user_id, product_id
"""
SHOPPERS = 300
"""So few that the gate promotes a model only because of the age of the one before."""
OUTCOMES = "select * from ml.outcomes order by all"


def published_batch(place: Place) -> str:
    """Read warehouse, model and pages as three readers would, and insist that they agree."""
    with duckdb.connect(str(place.warehouse), read_only=True) as con:
        batches = con.execute("select distinct batch_id from fct_predictions").fetchall()
        assert len(batches) == 1, f"{len(batches)} batches in fct_predictions"
        ((batch, version, rows),) = con.execute(
            "select batch_id, model_version, rows from ml.batches where batch_id = ?", batches[0]
        ).fetchall()
        assert con.execute("select count(*) from fct_predictions").fetchall() == [(rows,)]
    card = json.loads((place.model / "model.json").read_text())
    assert card["model_version"] == version, "the model is another than the one that scored"
    assert batch in (place.folder / "pages" / "index.html").read_text(), "pages of another batch"
    return batch


def started(
    place: Place, arguments: list[str], variables: dict[str, str] | None = None
) -> subprocess.Popen[bytes]:
    """Start a command in a process group of its own."""
    return subprocess.Popen(
        [str(Path(sys.executable).with_name("restock")), *arguments],
        cwd=ROOT,
        env=place.environment | (variables or {}),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def kill_after(
    place: Place, arguments: list[str], seconds: float, variables: dict[str, str] | None = None
) -> bool:
    """Start a run, kill it and all it started after so long; return whether it was still at it."""
    with started(place, arguments, variables) as process:
        time.sleep(seconds)
        was_running = process.poll() is None
        if was_running:
            os.killpg(process.pid, signal.SIGKILL)
    return was_running


def run(raw: Path) -> list[str]:
    return ["run", "--source", "instacart", "--raw-dir", str(raw)]


def kills(times: int, seed: int, raw: Path, place: Place, length: float) -> dict[str, int]:
    """Kill a run at random moments over its length; the next run must give the same predictions.

    ``place`` is that of a run, which took ``length`` seconds. The age of the model makes each run
    train the same model again, which the gate promotes.
    """
    rng, arguments = random.Random(seed), run(raw)
    expected, batch = place.query(PREDICTIONS), published_batch(place)
    counts = dict.fromkeys(
        ("kills", "last release intact", "next run gave the same predictions"), 0
    )
    while counts["kills"] < times:
        moment = rng.uniform(0.3, length)
        days.age(place.model)
        if not kill_after(place, arguments, moment):
            batch = published_batch(place)
            continue
        counts["kills"] += 1
        # The old batch, or the new one, if the run had published it and was tidying up.
        found = published_batch(place)
        counts["last release intact"] += 1
        days.age(place.model)
        place.restock(*arguments)
        assert place.query(PREDICTIONS) == expected, f"other predictions after a kill at {moment}"
        assert published_batch(place) not in (batch, found)
        counts["next run gave the same predictions"] += 1
        batch = published_batch(place)
        left = [path.name for path in place.folder.glob("*.releases/*")]
        assert len(left) <= 3 and "next" not in left, f"left behind: {left}"
        print(f"killed after {moment:5.1f} of {length:.1f} s: nothing lost", flush=True)
    return counts


def killed_refusals(
    times: int, seed: int, raw: Path, place: Place, length: float
) -> dict[str, int]:
    """Kill runs whose model the gate does not promote; the champion must serve the same scores.

    Each run learns from another, small number of rows.
    """
    rng, arguments = random.Random(seed), run(raw)
    expected, champion = place.query(PREDICTIONS), place.model.resolve()
    counts = dict.fromkeys(("refusals killed", "champion still serves", "next run refused it"), 0)
    for rows in range(500, 500 + 2 * times):
        if counts["refusals killed"] == times:
            break
        other = {"RESTOCK_TRAINING_ROWS": str(rows)}
        if not kill_after(place, arguments, rng.uniform(0.3, length), other):
            continue
        counts["refusals killed"] += 1
        published_batch(place)
        assert place.query(PREDICTIONS) == expected and place.model.resolve() == champion
        counts["champion still serves"] += 1
        place.restock(*arguments, **other)
        published_batch(place)
        assert place.query(PREDICTIONS) == expected and place.model.resolve() == champion
        ((decision, challenger),) = place.query(
            "select decision, challenger from ml.decisions where challenger is not null "
            "order by decided_at desc limit 1"
        )
        assert decision in ("refused", "too few to tell"), decision
        assert (champion.parent / challenger / "model.joblib").exists()
        counts["next run refused it"] += 1
    return counts


def killed_promotions(times: int, seed: int, place: Place) -> dict[str, int]:
    """Kill promotions from one version to another; one of both must be in production.

    ``place`` has two versions or more. A promotion serves from the next run on, so the published
    release stays as it is.
    """
    rng, batch = random.Random(seed), published_batch(place)
    counts = {"promotions killed": 0, "a whole version in production": 0}
    versions = [row["model_version"] for row in listed(place, "models")]
    start = time.perf_counter()
    started(place, ["promote", versions[0]]).wait()
    length = time.perf_counter() - start
    while counts["promotions killed"] < times:
        before = place.model.resolve().name
        chosen = rng.choice([name for name in versions if name != before])
        if not kill_after(place, ["promote", chosen], length * rng.uniform(0.5, 1)):
            continue
        counts["promotions killed"] += 1
        assert place.model.resolve().name in (before, chosen)
        assert (place.model / "model.joblib").exists()
        assert place.restock("status")["published"]["batch_id"] == batch
        counts["a whole version in production"] += 1
    return counts


def killed_rollbacks(times: int, seed: int, place: Place) -> dict[str, int]:
    """Kill rollbacks from one release to another; the published one must be whole, and one of both.

    ``place`` has two releases or more.
    """
    rng = random.Random(seed)
    counts = {"rollbacks killed": 0, "a whole release published": 0}
    start = time.perf_counter()
    started(place, ["rollback"]).wait()
    length = time.perf_counter() - start
    while counts["rollbacks killed"] < times:
        others = [row for row in listed(place, "releases") if not row["is_published"]]
        chosen, before = rng.choice(others), published_batch(place)
        # A command spends most of its time on imports, and the last moments on its work.
        if not kill_after(place, ["rollback", chosen["release"]], length * rng.uniform(0.5, 1)):
            continue
        counts["rollbacks killed"] += 1
        assert published_batch(place) in (before, chosen["batch_id"])
        counts["a whole release published"] += 1
    return counts


def killed_gradings(times: int, seed: int, folder: Path) -> dict[str, int]:
    """Kill runs on the orders of the next day; no outcome may be lost or doubled.

    The runs are small and full ones in turn. After the run that follows a kill, another starts from
    the release before: it grades again, and finds the same.
    """
    raw, later = folder / "raw", folder / "later"
    simulate(raw, shoppers=SHOPPERS, seed=1)
    days.let_a_day_pass(raw, later)
    first, rng = Place(folder / "first"), random.Random(seed)
    first.restock(*run(raw))
    counts = {"runs that grade killed": 0, "outcomes neither lost nor doubled": 0}
    lengths, expected = [], []
    for is_full in (False, True):
        place, start = aged(first, folder / "undisturbed", is_full), time.perf_counter()
        place.restock(*run(later))
        lengths.append(time.perf_counter() - start)
        expected.append(place.query(OUTCOMES))
    assert expected[0] == expected[1] and len(expected[0]) == days.DELIVERED, expected
    while counts["runs that grade killed"] < times:
        is_full = counts["runs that grade killed"] % 2 == 1
        place, moment = (
            aged(first, folder / "killed", is_full),
            rng.uniform(0.3, lengths[is_full]),
        )
        was_running = kill_after(place, run(later), moment)
        published_batch(place)
        assert place.query(OUTCOMES) in ([], expected[0]), f"half an outcome after {moment} s"
        if not was_running:
            continue
        counts["runs that grade killed"] += 1
        place.restock(*run(later))
        assert place.query(OUTCOMES) == expected[0], f"other outcomes after a kill at {moment} s"
        place.restock("rollback")
        place.restock("promote")
        place.restock(*run(later))
        assert place.query(OUTCOMES) == expected[0], f"other outcomes after a rollback, {moment} s"
        counts["outcomes neither lost nor doubled"] += 1
        print(f"graded after a kill at {moment:5.1f} s", flush=True)
    return counts


def killed_mirrors(times: int, seed: int, raw: Path, place: Place) -> dict[str, int]:
    """Kill runs that mirror the models in MLflow; the next run must complete the mirror.

    ``place`` has nothing new to publish, so a run does little but mirror.
    """
    rng, folder = random.Random(seed), place.folder / "mlflow"
    counts = {"runs that mirror killed": 0, "next run completed the mirror": 0}
    variables = {"MLFLOW_TRACKING_URI": f"sqlite:///{folder}/mlflow.db"}
    folder.mkdir()
    start = time.perf_counter()
    place.restock(*run(raw), **variables)
    length, expected = time.perf_counter() - start, mirrored(*variables.values())
    assert len(expected) > 1, expected
    while counts["runs that mirror killed"] < times:
        shutil.rmtree(folder)
        folder.mkdir()
        moment = length * rng.uniform(0.3, 1)
        if not kill_after(place, run(raw), moment, variables):
            continue
        counts["runs that mirror killed"] += 1
        place.restock(*run(raw), **variables)
        found = mirrored(*variables.values())
        assert found == expected, f"another mirror after a kill at {moment} s"
        counts["next run completed the mirror"] += 1
    return counts


def mirrored(uri: str) -> list[Any]:
    """Return what MLflow has of each version: its run, and the aliases of its model."""
    client = MlflowClient(uri)
    experiment = client.get_experiment_by_name(tracking.EXPERIMENT)
    assert experiment, "the mirror has no experiment"
    found = []
    for one in client.search_runs([experiment.experiment_id]):
        name = one.data.tags[tracking.VERSION]
        (model,) = client.search_model_versions(f"run_id = '{one.info.run_id}'")
        model = client.get_model_version(model.name, model.version)
        found.append(
            (name, one.info.status, one.data.params, one.data.metrics, sorted(model.aliases))
        )
    return sorted(found, key=lambda each: each[0])


def aged(place: Place, folder: Path, is_full: bool) -> Place:
    """Copy a place; the next run there is a full one if its model is old."""
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(place.folder, folder, symlinks=True)
    if is_full:
        days.age(folder / place.model.relative_to(place.folder))
    return Place(folder)


def listed(place: Place, command: str) -> Any:
    """Return what `restock releases` or `restock models` prints as JSON."""
    return place.restock(command)


def damaged_inputs(cases: int, seed: int) -> str:
    done = subprocess.run(
        [
            *(sys.executable, str(Path(__file__).with_name("fuzz_sources.py"))),
            *("--cases", str(cases), "--seed", str(seed)),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    print(done.stdout + done.stderr)
    if done.returncode:
        raise SystemExit(done.returncode)
    return done.stdout


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--cases", type=int, default=300)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--write", action="store_true", help="into docs/reliability.md")
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="restock-torture-"))
    try:
        raw = folder / "raw"
        simulate(raw, shoppers=SHOPPERS, seed=1)
        place, start = Place(folder / "place"), time.perf_counter()
        place.restock(*run(raw))
        length = time.perf_counter() - start
        counts = kills(options.kills, options.seed, raw, place, length)
        counts |= killed_rollbacks(options.kills, options.seed, place)
        place.restock("promote")  # ends the hold
        counts |= killed_refusals(options.kills, options.seed, raw, place, length)
        counts |= killed_promotions(options.kills, options.seed, place)
        place.restock(*run(raw))
        counts |= killed_mirrors(options.kills, options.seed, raw, place)
        counts |= killed_gradings(options.kills, options.seed, folder / "grading")
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    inputs = damaged_inputs(options.cases, options.seed)
    if options.write:
        table = "\n".join(
            [
                f"Commands in a simulated shop of {SHOPPERS} shoppers, ended by SIGKILL at random "
                f"moments (seed {options.seed}):",
                "",
                "| what | count |",
                "| --- | --- |",
                *(f"| {what} | {count} |" for what, count in counts.items()),
                "",
                f"Damaged raw files (seed {options.seed}):",
                "",
                inputs.strip(),
            ]
        )
        text = REPORT.read_text()
        marked = r"(<!-- torture -->\n).*?(<!-- /torture -->)"
        assert re.search(marked, text, re.DOTALL), f"{REPORT} has no place for the table"
        REPORT.write_text(re.sub(marked, lambda m: f"{m[1]}{table}\n{m[2]}", text, flags=re.DOTALL))


if __name__ == "__main__":
    main()
