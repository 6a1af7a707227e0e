"""Restock installed from a wheel, and Restock in places where it may not write."""

import os
import shutil
import site
import subprocess
import sys
from pathlib import Path

import duckdb
import pytest
from conftest import ROOT

from ml.errors import StorageError
from ml.settings import PROJECT, Settings
from ml.sources.raw import quoted


def contents(folder: Path) -> set[Path]:
    return {path for path in folder.rglob("*") if "__pycache__" not in path.parts}


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The `restock` command of a virtual environment with the wheel.

    Libraries come from the environment of the tests instead of being installed again.
    """
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    (wheel,) = folder.glob("restock-*.whl")
    venv = folder / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(venv)], check=True)
    packages = next((venv / "lib").glob("python*/site-packages"))
    (packages / "libraries.pth").write_text("\n".join(site.getsitepackages()))
    uv = Path(sys.executable).with_name("uv")
    install = [uv, "pip", "install", "--quiet", "--no-deps", f"--python={venv}/bin/python", wheel]
    subprocess.run([str(word) for word in install], check=True)
    return venv / "bin" / "restock"


@pytest.mark.slow
def test_an_installed_wheel_runs_in_an_empty_folder_and_writes_nowhere_else(
    installed: Path, tmp_path: Path, instacart_files: Path
) -> None:
    raw, work = tmp_path / "raw", tmp_path / "work"
    raw.mkdir()
    work.mkdir()
    query = f"""
        select
            user_id, order_id, product_id,
            date '2024-01-01' + cast(order_number * 7 + user_id % 7 as integer) as ordered_at
        from read_csv('{instacart_files}/orders.csv') as orders
        inner join read_csv('{instacart_files}/order_products__prior.csv') as lines using (order_id)
    """
    duckdb.execute(f"copy ({query}) to {quoted(raw / 'order_lines.csv')}")
    before = contents(installed.parents[1])
    done = subprocess.run(
        [installed, "run", "--source", "order_log", "--raw-dir", raw],
        cwd=work,
        env={"PATH": os.environ["PATH"], "RESTOCK_TRAINING_ROWS": "20000"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert contents(installed.parents[1]) == before
    assert {path.name for path in raw.iterdir()} == {"order_lines.csv"}
    assert {path.name for path in work.iterdir()} == {"dashboards", "logs", "target", "warehouse"}
    with duckdb.connect(str(work / "warehouse/restock.duckdb"), read_only=True) as con:
        assert con.execute("select count(*) > 0 from fct_predictions").fetchall() == [(True,)]
    assert (work / "dashboards/build/index.html").exists()
    assert (work / "warehouse/models/production/model.json").exists()


def test_the_version_is_printed(installed: Path) -> None:
    done = subprocess.run([installed, "--version"], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("restock ")


def test_the_workspace_is_the_clone_unless_a_variable_moves_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = Settings.load()
    assert settings.warehouse == ROOT / "warehouse" / "restock.duckdb"
    assert settings.models == ROOT / "warehouse" / "models"
    assert settings.dashboards == ROOT / "dashboards" / "build"
    monkeypatch.setenv("RESTOCK_HOME", str(tmp_path))
    moved = Settings.load()
    for path in (moved.warehouse, moved.models, moved.dashboards, moved.raw_dir, moved.target):
        assert path.is_relative_to(tmp_path)
    assert moved.dbt_log.is_relative_to(tmp_path)


def test_two_warehouses_in_one_folder_share_nothing(tmp_path: Path) -> None:
    one, other = (Settings.load(warehouse=tmp_path / f"{name}.duckdb") for name in ("a", "b"))
    for outputs in ("landing", "models", "dashboards"):
        assert getattr(one, outputs) != getattr(other, outputs)
        assert getattr(one, outputs).is_relative_to(tmp_path)


def test_a_workspace_that_cannot_be_written_names_the_variable_to_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("RESTOCK_HOME", str(tmp_path / "file"))
    with pytest.raises(StorageError, match="Set RESTOCK_HOME to"):
        Settings.load().prepare_workspace()


@pytest.mark.slow
def test_a_read_only_checkout_works_with_a_workspace_elsewhere(
    tmp_path: Path, instacart_files: Path
) -> None:
    """With no HOME and an empty environment, as a service account has them."""
    checkout = tmp_path / "checkout"
    for part in ("ml", "dashboards", "models", "macros", "seeds", "tests/generic"):
        shutil.copytree(ROOT / part, checkout / part, ignore=shutil.ignore_patterns("__pycache__"))
    for file in ("dbt_project.yml", "profiles.yml", "selectors.yml", "restock.toml"):
        shutil.copy(PROJECT / file, checkout)
    before = contents(checkout)
    for path in (checkout, *checkout.rglob("*")):
        path.chmod(0o555 if path.is_dir() else 0o444)
    # Root may write anywhere, unless it gives up its capabilities.
    bare = ["setpriv", "--bounding-set=-all", "--inh-caps=-all"] if os.geteuid() == 0 else []
    command = [*bare, sys.executable, "-c", "from ml.cli import main; main()", "fetch"]
    arguments = ["--source", "instacart", "--raw-dir", str(instacart_files)]
    empty = {"PYTHONPATH": str(checkout)}

    def call(**variables: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*command, *arguments],
            cwd=tmp_path,
            env=empty | variables,
            capture_output=True,
            text=True,
        )

    refused = call()
    assert refused.returncode == 5, refused.stderr
    assert "RESTOCK_HOME" in refused.stderr
    command[-1] = "build"
    done = call(RESTOCK_HOME=str(tmp_path / "home"))
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "home" / "warehouse" / "restock.duckdb").exists()
    assert contents(checkout) == before
