"""Every mutant in mutate.py still applies, and the tests detect one of them."""

import subprocess
import sys

import pytest
from conftest import ROOT
from mutate import MUTANTS, Mutant


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.what)
def test_every_mutant_still_applies(mutant: Mutant) -> None:
    assert mutant.old in (ROOT / mutant.file).read_text()
    assert mutant.new != mutant.old


@pytest.mark.slow
def test_a_mutant_is_detected() -> None:
    done = subprocess.run(
        [sys.executable, ROOT / "tests" / "python" / "mutate.py", "--quick"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 mutants tried, 1 noticed." in done.stdout
