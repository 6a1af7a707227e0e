"""One of the kills of torture.py, at a fixed moment."""

from pathlib import Path

import pytest
from conftest import Place
from torture import kills

pytestmark = pytest.mark.slow


def test_a_killed_run_loses_nothing(place: Place, instacart_files: Path) -> None:
    counts = kills(1, seed=3, raw=instacart_files, folder=place.folder)
    assert set(counts.values()) == {1}
