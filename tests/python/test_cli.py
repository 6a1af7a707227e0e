"""The command line itself: what it takes to say something."""

import subprocess
import sys

import pytest
from conftest import ROOT

from ml.errors import SettingsError
from ml.settings import Settings


def test_a_help_page_waits_for_no_model_library() -> None:
    """Each of them takes long to import, and is imported by the step that needs it."""
    heavy = {"dbt", "lightgbm", "numba", "pandas", "scipy", "sklearn"}
    code = f"import sys, ml.cli; print(*({heavy} & sys.modules.keys()))"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == []


def test_a_flag_that_names_a_day_wins_over_a_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RESTOCK_AS_OF", "20260105")
    assert Settings.load().as_of == "2026-01-05"
    days = Settings.load(as_of_days=3)
    assert (days.as_of, days.as_of_days) == ("", "3")
    with pytest.raises(SettingsError, match="use one"):
        Settings.load(as_of="2026-01-05", as_of_days=3)
