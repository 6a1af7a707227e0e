"""Rollback, promotion and the commands that list what is kept, on real runs."""

import fcntl
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from conftest import Place
from days import add_an_aisle
from test_outputs import contents, refused
from test_run import SAME

from ml.registry import records

pytestmark = pytest.mark.slow


def published_files(place: Place) -> dict[str, bytes | str]:
    """Return every file of the published release and of its model, with its bytes."""
    release = place.warehouse.resolve().parent
    return contents(release) | contents(place.model.resolve())


def listed(place: Place, command: str) -> Any:
    """Return what `restock releases` or `restock models` prints as JSON."""
    return place.restock(command)


def test_rollback_restores_every_byte(
    published: Place, published_twice: Place, place: Place
) -> None:
    shutil.copytree(published_twice.folder, place.folder, dirs_exist_ok=True, symlinks=True)
    assert place.model.resolve().name != published.model.resolve().name
    done = place.restock("rollback")["rollback"]
    found = published_files(place)
    assert json.loads(found.pop("held.json"))["from"] == done["replaced"]
    assert found == published_files(published)
    assert (place.folder / "pages" / "index.html").read_bytes() == (
        published.folder / "pages" / "index.html"
    ).read_bytes()


def test_runs_after_a_rollback_keep_the_model_until_it_is_promoted(
    published: Place,
    published_twice: Place,
    incremented: Place,
    next_day: Path,
    place: Place,
) -> None:
    """The second full run trained the same model again, so the scores must not change by a bit."""
    shutil.copytree(published_twice.folder, place.folder, dirs_exist_ok=True, symlinks=True)
    first, second = (each.model.resolve().name for each in (published, published_twice))
    arguments = ("run", "--source", "instacart", "--raw-dir")
    place.restock("rollback")
    summary = place.restock(*arguments, next_day)
    assert list(summary) == ["fetch", "update", "index", "report"]
    assert summary["update"]["rows"] < 1_000
    assert place.model.resolve().name == first
    assert place.query(SAME) == incremented.query(SAME)

    held = place.restock(*arguments, next_day, "--full")
    assert list(held) == ["fetch", "update"]
    assert "a rollback holds promotion" in held["update"]["note"]
    assert place.restock("status")["held"]["from"]

    place.restock("promote", second)
    status = place.restock("status")
    assert status["held"] is None and status["waiting"] == [second]
    # Everyone is scored anew, also because the catalogue numbers its aisles otherwise now.
    catalogue = add_an_aisle(next_day, place.folder / "catalogue")
    summary = place.restock(*arguments, catalogue)
    assert list(summary) == ["fetch", "update", "evaluate", "index", "report"]
    assert summary["update"]["rows"] == len(incremented.query(SAME))
    assert place.model.resolve().name == second
    assert place.query(SAME) == incremented.query(SAME)
    assert place.query("select max(model_version) from rpt_score_summary") == [(second,)]
    assert place.restock("status")["waiting"] == []

    summary = place.restock(*arguments, catalogue)
    assert summary["update"]["note"] == "0 of 300 shoppers have new or changed orders"


def test_releases_models_and_status_say_what_is_kept(
    published: Place, published_twice: Place
) -> None:
    newest, oldest = listed(published_twice, "releases")
    assert (newest["is_published"], oldest["is_published"]) == (True, False)
    ((batch, rows),) = published_twice.query(
        "select batch_id, rows from ml.batches order by started_at desc limit 1"
    )
    assert (newest["batch_id"], newest["pairs"]) == (batch, rows)
    assert newest["models"]["production"] == published_twice.model.resolve().name
    assert newest["metrics"]["production"]["auc"] > 0.5 and newest["missing"] == []
    assert newest["size_bytes"] > published_twice.warehouse.stat().st_size

    production, earlier = listed(published_twice, "models")
    assert (production["alias"], earlier["alias"]) == ("production", None)
    assert production["releases"] == [newest["release"]]
    assert earlier["model_version"] == published.model.resolve().name

    status = published_twice.restock("status")
    assert status["published"]["release"] == newest["release"]
    assert status["rolls_back_to"] == oldest["release"]
    assert 0 <= status["age_hours"] < 24 and status["held"] is None
    assert status["last_run"]["batch_id"] == batch

    for command, says in (
        ("releases", (newest["release"], "published", f"batch {batch}", "AUC 0.")),
        ("models", (production["model_version"], "reorder", "production", "mean F1 0.")),
        ("status", (newest["release"], batch, f"{rows:,} pairs of 300 shoppers", "published")),
    ):
        done = published_twice.call("restock", command)
        assert done.returncode == 0 and done.stderr == ""
        assert all(text in done.stdout for text in says), done.stdout
        assert published_twice.call("restock", command, "--quiet").stdout == ""


def test_nothing_changes_while_another_job_runs(published_twice: Place, place: Place) -> None:
    shutil.copytree(published_twice.folder, place.folder, dirs_exist_ok=True, symlinks=True)
    with Path(f"{place.warehouse}.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for command in ("rollback", "promote"):
            assert "another restock job" in refused(place, command, code=4)
        assert place.restock("status")["published"]


def test_an_empty_workspace_has_nothing_to_list(place: Place) -> None:
    assert listed(place, "releases") == listed(place, "models") == []
    assert place.restock("status")["published"] is None
    assert "restock run" in place.call("restock", "status").stdout
    done = place.call("restock", "rollback")
    assert done.returncode == 1 and "Run `restock run` first" in done.stderr


def test_a_record_that_a_kill_cut_short_is_no_record(tmp_path: Path) -> None:
    file = tmp_path / "runs.jsonl"
    assert records.read(file) == []
    records.append(file, {"n": 1})
    with file.open("a") as cut:
        cut.write('{"n": 2, "s')
    assert records.read(file) == [{"n": 1}]
    records.append(file, {"n": 3})
    assert records.read(file) == [{"n": 1}, {"n": 3}]
    assert records.is_ours(file)
