"""Runs each command in a process of its own.

The processes are forked from a server that has imported the libraries, because the imports take
longer than most commands.
"""

import gc
import multiprocessing
import os
import subprocess
import sys
from collections.abc import Sequence
from importlib.metadata import entry_points
from multiprocessing import forkserver
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

# Libraries read this on import, so it must be set before the server starts.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
# Where this attribute is missing, as in the server, DuckDB believes that it is imported by an
# interactive shell, and prints progress bars.
if not hasattr(sys.modules["__main__"], "__file__"):
    sys.modules["__main__"].__file__ = __file__
_SERVER = multiprocessing.get_context("forkserver")
_SERVER.set_forkserver_preload(
    [
        "command",  # first, for the attribute
        *("dbt.cli.main", "dbt.adapters.duckdb.impl", "dbt.task.build"),
        *("lightgbm", "sklearn.isotonic", "sklearn.linear_model"),
        *("ml.cli", "ml.jobs.audit", "ml.jobs.evaluate", "ml.serving.index", "dashboards.site"),
    ]
)


def run(
    program: str, arguments: Sequence[str], environment: dict[str, str], folder: Path
) -> subprocess.CompletedProcess[str]:
    """Run a console script of this environment in a folder, and return its output."""
    with pytest.MonkeyPatch.context() as patch:
        # Where the server finds `command`.
        patch.setenv("PYTHONPATH", str(Path(__file__).parent), prepend=os.pathsep)
        forkserver.ensure_running()
    with TemporaryDirectory() as said:
        out, err = Path(said, "out"), Path(said, "err")
        process = _SERVER.Process(
            target=_become, args=(program, arguments, environment, folder, out, err)
        )
        process.start()
        process.join()
        assert process.exitcode is not None
        texts = out.read_text(), err.read_text()
    return subprocess.CompletedProcess([program, *arguments], process.exitcode, *texts)


def _become(
    program: str,
    arguments: Sequence[str],
    environment: dict[str, str],
    folder: Path,
    out: Path,
    err: Path,
) -> None:
    gc.freeze()  # the libraries are no garbage, and looking at them takes time
    for path, stream in ((out, 1), (err, 2)):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT), stream)
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    sys.argv = [program, *arguments]
    (script,) = entry_points(group="console_scripts", name=program)
    sys.exit(script.load()())
