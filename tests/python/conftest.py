"""Shared fixtures: data, a folder to work in, and the real command line."""

import fcntl
import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import command
import days
import duckdb
import pytest
import shops

from ml.progress import silent
from ml.settings import Settings
from ml.simulation.simulate import simulate
from ml.warehouse import dbt

ROOT = Path(__file__).resolve().parents[2]
# Fewer training examples than the default, to save time: on made-up and on real orders.
TRAINING_ROWS, FEWER_ROWS = 20_000, "100000"
SHARED_INSTACART = ROOT.parent / "shared" / "data" / "instacart"

needs_shared_data = pytest.mark.skipif(
    not SHARED_INSTACART.exists(),
    reason=f"{SHARED_INSTACART} does not exist: the data may not be redistributed",
)

Once = Callable[[str, Callable[[Path], None]], Path]


@dataclass(frozen=True)
class Place:
    """A folder with a warehouse, models and pages, and methods that run commands on them."""

    folder: Path
    parsed: ClassVar[Path | None] = None
    """The folder where the places of a test run share what dbt has parsed."""

    @property
    def warehouse(self) -> Path:
        return self.folder / "restock.duckdb"

    @property
    def model(self) -> Path:
        return self.folder / "restock.duckdb.models" / "production"

    @property
    def target(self) -> Path:
        """The folder of dbt's files."""
        return self.folder / "target"

    @property
    def environment(self) -> dict[str, str]:
        clean = {k: v for k, v in os.environ.items() if not k.startswith(("RESTOCK_", "DBT_"))}
        return clean | {
            "RESTOCK_WAREHOUSE": str(self.warehouse),
            "RESTOCK_DASHBOARDS": str(self.folder / "pages"),
            "DBT_TARGET_PATH": str(self.target),
            "DBT_LOG_PATH": str(self.folder / "logs"),
            "RESTOCK_TRAINING_ROWS": str(TRAINING_ROWS),
            # Wide enough that no message wraps.
            "COLUMNS": "1000",
        }

    def call(
        self, program: str, *arguments: str | Path, **variables: str
    ) -> subprocess.CompletedProcess[str]:
        words = [*map(str, arguments)]
        source = words[words.index("--source") + 1] if "--source" in words else "default"
        # A plain dbt parses for a warehouse, so no other place has what it needs.
        with self._parsed(source) if program == "restock" else nullcontext():
            return command.run(program, words, self.environment | variables, ROOT)

    def restock(self, *arguments: str | Path, **variables: str) -> dict[str, Any]:
        """Run `restock ... --json`, assert that it succeeds, and return its summary."""
        done = self.call("restock", *arguments, "--json", **variables)
        assert done.returncode == 0, done.stdout + done.stderr
        return json.loads(done.stdout)

    @contextmanager
    def _parsed(self, source: str) -> Iterator[None]:
        """Let dbt start from the project as another place parsed it, because parsing takes seconds.

        dbt notices what differs, such as another source, and parses that again. If the command
        ends before dbt starts, nothing stays behind.
        """
        if self.parsed is None:
            yield
            return
        ours = self.target / "partial_parse.msgpack"
        shared = self.parsed / f"{source}.msgpack"
        lent = shared.exists() and not ours.exists()
        if lent:
            ours.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(shared, ours)
        yield
        if lent and ours.stat().st_mtime_ns == shared.stat().st_mtime_ns:
            ours.unlink()
            with suppress(OSError):  # dbt has written other files
                ours.parent.rmdir()
        if ours.exists() and not shared.exists():
            part = shared.with_suffix(f".{os.getpid()}")
            shutil.copy2(ours, part)
            part.replace(shared)

    def settings(self, **flags: Any) -> Settings:
        """Return the settings of jobs that a test runs in this process, by default on Instacart."""
        own = {"warehouse": self.warehouse, "dashboards": self.folder / "pages"}
        return Settings.load(
            **{"source": "instacart", "training_rows": TRAINING_ROWS, **own, **flags}
        )

    def dbt(self, *arguments: str, **flags: Any) -> None:
        """Run a dbt command in this process. The flags are those of `settings`."""
        settings = self.settings(**flags)
        with self._parsed(settings.source):
            dbt.run(settings, *arguments, progress=silent)

    def compile(self, **flags: Any) -> None:
        """Compile every model in this process into `models.json`, each after those it reads."""
        settings = self.settings(**flags)
        with self._parsed(settings.source), pytest.MonkeyPatch.context() as patch:
            for name in ("DBT_TARGET_PATH", "DBT_LOG_PATH"):
                patch.setenv(name, self.environment[name])
            models = dbt.compile(settings, "--select", "resource_type:model")
        (self.folder / "models.json").write_text(json.dumps([asdict(model) for model in models]))

    def compiled(self, *names: str) -> dict[str, str]:
        """Return the compiled SQL of some models and of all that they read, by name."""
        models, needed = json.loads((self.folder / "models.json").read_text()), {*names}
        for model in reversed(models):
            if model["name"] in needed:
                needed |= model["reads"].keys()
        return {model["name"]: model["sql"] for model in models if model["name"] in needed}

    def query(self, sql: str) -> list[tuple[Any, ...]]:
        with duckdb.connect(str(self.warehouse), read_only=True) as con:
            return con.execute(sql).fetchall()


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    """A place of the test's own, whose dbt manifest and logs jobs in this process use too."""
    place = Place(tmp_path)
    for name in ("DBT_TARGET_PATH", "DBT_LOG_PATH"):
        monkeypatch.setenv(name, place.environment[name])
    return place


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that all worker processes of a test run share."""
    own = tmp_path_factory.getbasetemp()
    return own.parent if "PYTEST_XDIST_WORKER" in os.environ else own


@pytest.fixture(scope="session", autouse=True)
def _parsed(base: Path) -> None:
    Place.parsed = base / "parsed"
    Place.parsed.mkdir(exist_ok=True)


@pytest.fixture(scope="session")
def once(base: Path) -> Once:
    """Return a function that creates a folder once for all worker processes of a test run."""

    def make_once(name: str, make: Callable[[Path], None]) -> Path:
        with (base / f"{name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not (base / name).exists():
                part = base / f"{name}.part"
                part.mkdir()
                make(part)
                part.rename(base / name)
        return base / name

    return make_once


@pytest.fixture(scope="session")
def instacart_files(once: Once) -> Path:
    """Made-up orders of 300 shoppers in Instacart's format."""

    def make(folder: Path) -> None:
        simulate(folder / "raw", shoppers=300, seed=1)

    return once("data", make) / "raw"


@pytest.fixture(scope="session")
def project(once: Once, instacart_files: Path) -> Callable[[str], Place]:
    """Return a function that gives the place where dbt has compiled every model for a source."""

    def of(source: str) -> Place:
        def make(folder: Path) -> None:
            raw = instacart_files
            if source != "instacart":
                raw = shops.write(folder / "raw", shops.small(3))
            Place(folder).compile(source=source, raw_dir=raw)

        return Place(once(f"compiled {source}", make))

    return of


@pytest.fixture(scope="session")
def published(once: Once, instacart_files: Path) -> Place:
    """The place of a `restock run` on the made-up orders. Tests must not change it."""

    def run(folder: Path) -> None:
        Place(folder).restock("run", "--source", "instacart", "--raw-dir", instacart_files)

    return Place(once("published", run))


@pytest.fixture(scope="session")
def published_twice(once: Once, published: Place, instacart_files: Path) -> Place:
    """The place of a second full run on the same orders, with another model version.

    A reader had the warehouse open meanwhile. Tests must not change the place.
    """
    batch = "select distinct batch_id from fct_predictions"

    def run(folder: Path) -> None:
        shutil.copytree(published.folder, folder, dirs_exist_ok=True, symlinks=True)
        place = Place(folder)
        options = ("--source", "instacart", "--raw-dir", instacart_files)
        first = place.model.resolve()
        card = days.age(first)
        with duckdb.connect(str(place.warehouse), read_only=True) as reader:
            before = reader.execute(batch).fetchall()
            summary = place.restock("run", *options)
            assert reader.execute(batch).fetchall() == before
        (first / "model.json").write_text(card)
        assert place.query(batch) != before
        (folder / "summary.json").write_text(json.dumps(summary))

    return Place(once("published_twice", run))


@pytest.fixture(scope="session")
def next_day(once: Once, instacart_files: Path) -> Path:
    """The raw files one day later.

    Some open orders were delivered, one of them with a new product. One shopper is new, with a copy
    of another's orders. One shopper was deleted.
    """
    return once("next_day", partial(days.let_a_day_pass, instacart_files))


@pytest.fixture(scope="session")
def incremented(once: Once, published: Place, next_day: Path) -> Place:
    """The place of a full run on one day and an update run on the next."""

    def run(folder: Path) -> None:
        shutil.copytree(published.folder, folder, dirs_exist_ok=True, symlinks=True)
        summary = Place(folder).restock("run", "--source", "instacart", "--raw-dir", next_day)
        (folder / "summary.json").write_text(json.dumps(summary))

    return Place(once("incremented", run))


@pytest.fixture(scope="session")
def small_shop(once: Once) -> Callable[[str, list[shops.Line]], Place]:
    """Return a function that gives the place of a `restock run` on a few order lines.

    The file `said` has what the run printed. Tests must not change the place.
    """

    def of(name: str, lines: list[shops.Line]) -> Place:
        def run(folder: Path) -> None:
            raw = shops.write(folder / "raw", lines)
            done = Place(folder).call("restock", "run", "--source", "order_log", "--raw-dir", raw)
            assert done.returncode == 0, done.stderr
            (folder / "said").write_text(done.stderr)

        return Place(once(f"shop of {name}", run))

    return of


@pytest.fixture(scope="session")
def complete_journey(once: Once) -> Place:
    """The place of a `restock run` on The Complete Journey. Tests must not change it."""

    def run(folder: Path) -> None:
        home = str(folder / "home")
        Place(folder).restock("run", RESTOCK_HOME=home, RESTOCK_TRAINING_ROWS=FEWER_ROWS)

    return Place(once("complete_journey", run))


@pytest.fixture(scope="session")
def instacart_sample(once: Once) -> Place:
    """The place of a `restock run` on the real Instacart sample. Tests must not change it."""

    def run(folder: Path) -> None:
        options = ("--source", "instacart", "--raw-dir", SHARED_INSTACART)
        Place(folder).restock("run", *options, RESTOCK_TRAINING_ROWS=FEWER_ROWS)

    return Place(once("instacart_sample", run))


# Test modules with a test of ten seconds or more.
LONG = {
    f"test_{name}.py"
    for name in (
        "leakage",
        "evaluate",
        "update",
        "interrupt",
        "lifecycle",
        "mutation",
        "run",
        "half_year",
    )
}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run the tests that build shared fixtures first, then slow tests, and browser tests last.

    Fast tests follow the first group, so that two workers get similar amounts of work.
    """
    items.sort(
        key=lambda item: (
            item.name not in ("test_complete_journey", "test_instacart_sample"),
            item.get_closest_marker("slow") is not None,
            item.path.name not in LONG,
            item.path.name == "test_browser.py",
        )
    )
