"""A killed run and an interrupted run (Ctrl-C) lose nothing."""

import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT, Place
from torture import kills, published_batch, run

pytestmark = pytest.mark.slow


def test_a_killed_run_loses_nothing(published: Place, place: Place, instacart_files: Path) -> None:
    shutil.copytree(published.folder, place.folder, dirs_exist_ok=True, symlinks=True)
    counts = kills(1, seed=3, raw=instacart_files, place=place, length=20)
    assert set(counts.values()) == {1}


def test_an_interrupted_run_exits_cleanly_and_loses_nothing(
    published: Place, place: Place, instacart_files: Path
) -> None:
    shutil.copytree(published.folder, place.folder, dirs_exist_ok=True, symlinks=True)
    running = subprocess.Popen(
        [Path(sys.executable).with_name("restock"), *run(instacart_files)],
        cwd=ROOT, env=place.environment, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert running.stderr
    assert any("✓ fetch" in line for line in running.stderr)
    running.send_signal(signal.SIGINT)
    said = running.stderr.read()
    assert running.wait(30) == 130
    assert re.search(" ERROR restock[^:]*: interrupted. ", said.splitlines()[-1])
    assert published_batch(place) == published_batch(published)
    assert len(list(place.folder.glob("*.releases/*"))) == 1
