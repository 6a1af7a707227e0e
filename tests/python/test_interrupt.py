"""A killed run and an interrupted run (Ctrl-C) lose nothing."""

import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import ROOT, Place
from test_run import SAME
from torture import published_batch, run

pytestmark = pytest.mark.slow


def unfinished(place: Place) -> list[Path]:
    return [*place.folder.glob("*.releases/next/*")]


def stopped(place: Place, raw: Path, by: signal.Signals) -> tuple[int, str]:
    """Stop a run after its fetch, a killed one within the update; return its code and last line."""
    running = subprocess.Popen(
        [Path(sys.executable).with_name("restock"), *run(raw)],
        cwd=ROOT, env=place.environment, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert running.stderr
    assert any("✓ fetch" in line for line in running.stderr)
    while by is signal.SIGKILL and not unfinished(place):
        time.sleep(0.01)
    running.send_signal(by)
    said = running.stderr.read()
    return running.wait(30), said.splitlines()[-1] if said else ""


@pytest.mark.parametrize("by", [signal.SIGKILL, signal.SIGINT])
def test_a_run_that_is_stopped_loses_nothing(
    published: Place, incremented: Place, place: Place, next_day: Path, by: signal.Signals
) -> None:
    shutil.copytree(published.folder, place.folder, dirs_exist_ok=True, symlinks=True)
    code, said = stopped(place, next_day, by)
    assert published_batch(place) == published_batch(published)
    if by is signal.SIGINT:
        assert code == 130 and re.search(" ERROR restock[^:]*: interrupted. ", said)
        assert len([*place.folder.glob("*.releases/*")]) == 1
    else:
        assert code == -signal.SIGKILL and unfinished(place)
        place.restock(*run(next_day))
        assert place.query(SAME) == incremented.query(SAME) and not unfinished(place)
