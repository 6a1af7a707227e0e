"""The command line: import time, and the precedence of flags and variables."""

import subprocess
import sys

import pytest
from conftest import ROOT

from ml.errors import SettingsError
from ml.settings import Settings


def test_help_imports_no_model_library() -> None:
    """These libraries take long to import; each step imports what it needs."""
    heavy = {"dbt", "lightgbm", "numba", "pandas", "scipy", "sklearn"}
    code = f"import sys, ml.cli; print(*({heavy} & sys.modules.keys()))"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == []


def test_a_scoring_date_flag_overrides_the_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RESTOCK_AS_OF", "20260105")
    assert Settings.load().as_of == "2026-01-05"
    days = Settings.load(as_of_days=3)
    assert (days.as_of, days.as_of_days) == ("", "3")
    with pytest.raises(SettingsError, match="use one"):
        Settings.load(as_of="2026-01-05", as_of_days=3)
