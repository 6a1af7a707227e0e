"""The command line itself: what it takes to say something."""

import subprocess
import sys

from conftest import ROOT


def test_a_help_page_waits_for_no_model_library() -> None:
    """Each of them takes long to import, and is imported by the step that needs it."""
    heavy = {"dbt", "lightgbm", "numba", "pandas", "scipy", "sklearn"}
    code = f"import sys, ml.cli; print(*({heavy} & sys.modules.keys()))"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == []
