"""A run that takes longer than --timeout ends and leaves the last release in place."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT, Place
from torture import published_batch

# This query takes days, and hears no signal.
LONG_QUERY = """
import duckdb
from ml.jobs.deadline import Deadline
deadline = Deadline({minutes}, lambda error: print(error, flush=True))
with deadline.over("build", lambda reason: print("cleaned up", flush=True)):
    duckdb.execute("create table t as select 1 from range(4000000) as a, range(4000000) as b "
                   "where hash(a.range, b.range) % 10 = 11")
"""


def test_a_long_query_is_ended() -> None:
    done = subprocess.run(
        [sys.executable, "-c", LONG_QUERY.format(minutes=0.02)],
        cwd=ROOT, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 124, done.stderr
    cleaned, error = done.stdout.splitlines()
    assert cleaned == "cleaned up"
    assert error.startswith("the run was ended in the step build: it took longer than --timeout")


@pytest.mark.slow
def test_a_run_that_takes_too_long_publishes_nothing_and_is_recorded(
    published: Place, place: Place, instacart_files: Path
) -> None:
    shutil.copytree(published.folder, place.folder, dirs_exist_ok=True, symlinks=True)
    files = ("--source", "instacart", "--raw-dir", instacart_files)
    done = place.call("restock", "run", "--full", *files, "--timeout", "0.01", "--json")
    assert done.returncode == 124, done.stderr
    error = json.loads(done.stdout)
    assert error["exit_code"] == 124 and error["error"] in done.stderr
    assert published_batch(place) == published_batch(published)
    assert len(list(place.folder.glob("*.releases/*"))) == 1, "nothing half-made stays"
    status = place.restock("status")
    assert status["last_run"]["outcome"] == "failed"
    assert status["last_run"]["error"] == error["error"]
    # The lock is free, and time enough is no reason to end.
    again = place.restock("run", *files, "--timeout", "30")
    assert "update" in again
