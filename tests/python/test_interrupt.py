"""One of the kills of torture.py, at a fixed moment."""

import shutil
from pathlib import Path

import pytest
from conftest import Place
from torture import kills

pytestmark = pytest.mark.slow


def test_a_killed_run_loses_nothing(published: Place, place: Place, instacart_files: Path) -> None:
    shutil.copytree(published.folder, place.folder, dirs_exist_ok=True, symlinks=True)
    counts = kills(1, seed=3, raw=instacart_files, place=place, length=20)
    assert set(counts.values()) == {1}
