"""The settings of a job: paths, the source, the scoring date, and how to train a model.

Paths and the source come from ``RESTOCK_*`` variables, which dbt reads too. Model settings come
from ``restock.toml``. A command-line flag overrides a variable, and a variable overrides the file.

Restock writes everything to one *workspace*: the clone, or the current folder for an installed
package. ``RESTOCK_HOME`` moves it. ``RESTOCK_WAREHOUSE`` moves the warehouse alone; its landing
folder, models and pages then sit beside it, so two warehouses never share them.
"""

import difflib
import os
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, fields, replace
from datetime import date
from pathlib import Path
from typing import Any, Self

from ml import memory
from ml.errors import SettingsError, StorageError
from ml.mongodb import Database, is_address
from ml.reading import Reading

_PACKAGE = Path(__file__).resolve().parent
_WHEEL_PROJECT = _PACKAGE / "project"
IS_CLONE = not _WHEEL_PROJECT.is_dir()
PROJECT = _PACKAGE.parent if IS_CLONE else _WHEEL_PROJECT
"""The dbt project: the clone, or the read-only copy inside the wheel."""
SOURCES = ("complete_journey", "instacart", "order_log")
DEFAULT_MODEL = "gradient_boosting"
AUTO = "auto"
"""The setting ``model`` that lets validation shoppers choose `DEFAULT_MODEL` or a simple rule."""
HYBRID = "hybrid"
"""The setting ``model`` that lets validation shoppers choose it or `DEFAULT_MODEL`."""
SEQUENTIAL = ("sequence", HYBRID)
"""The models that also read the columns of `pair_sequences`."""
DAY = {"as_of", "as_of_days"}
"""The two settings for the scoring date; a job takes one of them."""
IN_TOML = (
    *("model", "parameters", "seed", "threads", "training_rows", "refit_below", "batch_rows"),
    *("warn_after", "error_after", "keep_releases"),
    *("reading", "columns", "events"),
)
"""The settings that ``restock.toml`` may contain."""


@dataclass(frozen=True)
class Settings:
    """The settings of one job. Paths are absolute."""

    source: str
    """One of `SOURCES`; empty if the files in ``raw_dir`` decide (`ml.sources.with_source`)."""
    home: Path
    """The workspace."""
    raw_dir: Path
    """The folder of the raw files; those of a database are fetched into it."""
    warehouse: Path
    landing: Path
    dashboards: Path
    models: Path
    as_of: str = ""
    """The date of cutoff 0, such as 2018-01-02; empty for the day after the newest order."""
    as_of_days: str = ""
    """Days from each shopper's last order to cutoff 0, for data without dates; empty if unused."""
    memory_limit: str = ""
    """Memory for DuckDB and Python together, such as 3GB; empty for the default of `ml.memory`."""
    model: str = DEFAULT_MODEL
    """A model of ``ml/modelling/estimators.py``, `HYBRID`, or `AUTO`."""
    seed: int = 7
    threads: int = 0
    """Threads for DuckDB and the model; 0 uses every core."""
    training_rows: int = 1_000_000
    """Approximate number of training examples, which bounds the memory and the time of training."""
    refit_below: int = 5_000
    """With fewer labelled shoppers than this, the model that serves learns from all of them."""
    batch_rows: int = 250_000
    """Pairs per scoring batch, which bounds the memory of scoring."""
    warn_after: int = 0
    """Age in days of the newest order or event above which a fetch adds a note; 0 turns it off."""
    error_after: int = 0
    """Age in days of the newest order or event above which a fetch fails; 0 turns it off."""
    keep_releases: int = 3
    """Releases that stay on disk, the published one included; `restock rollback` needs 2."""
    parameters: dict[str, Any] = field(default_factory=dict, hash=False)
    """Model parameters that override the defaults in ``ml/modelling/estimators.py``."""
    reading: Reading = field(default_factory=Reading)
    """How to read the raw files of an order log."""
    database: Database | None = None
    """Where the raw files come from, if ``raw_dir`` was given as the address of a database."""
    mongo_password: str = field(default="", repr=False)
    """The password of the user in the address of a MongoDB database that has none."""
    api_key: str = field(default="", repr=False)
    """The key that requests to `restock serve` must have; empty for none."""
    publish_to: str = field(default="", repr=False)
    """The address of the database that `restock publish` writes to."""

    @classmethod
    def load(cls, **flags: str | int | Path | None) -> Self:
        """Read the settings from flags, then ``RESTOCK_*`` variables, then ``restock.toml``.

        A flag that is None counts as not given.

        Raises:
            SettingsError: a setting or a ``RESTOCK_*`` variable is unknown, or its value is
                invalid.
        """
        _reject_unknown_variables()
        kinds = {field.name: str(field.type) for field in fields(cls)}
        home = Path(os.environ.get("RESTOCK_HOME") or (PROJECT if IS_CLONE else Path.cwd()))
        home = home.expanduser().absolute()
        own_toml = home / "restock.toml"
        values = _read_toml(own_toml if own_toml.exists() else PROJECT / "restock.toml")
        reading = values.pop("reading", Reading())
        for variable in _variables():
            if (value := os.environ.get(variable, "")) != "":
                values[variable.removeprefix("RESTOCK_").lower()] = value
        given = {name: value for name, value in flags.items() if value is not None}
        if DAY & given.keys():  # a flag for either one overrides both variables
            values = {name: value for name, value in values.items() if name not in DAY}
        values |= given

        if is_address(address := str(values.get("raw_dir", ""))):
            database = Database.from_address(address, str(values.get("mongo_password", "")))
            values |= {"database": database, "raw_dir": _mongo_dir(home) / database.folder}
            if values.setdefault("source", "order_log") != "order_log":
                raise SettingsError(
                    f"{database} has no files of {values['source']}: its source is order_log. "
                    "Leave out --source (RESTOCK_SOURCE)."
                )
        raw_dirs = {home / "data" / "raw" / name: name for name in SOURCES}
        if "source" in values:
            source = str(values["source"])
            if source not in SOURCES:
                choices = ", ".join(SOURCES)
                raise SettingsError(f"unknown source '{source}': choose one of {choices}")
        elif "raw_dir" in values:
            source = raw_dirs.get(_typed("raw_dir", "Path", values["raw_dir"]), "")
        else:
            source = SOURCES[0]
        own_warehouse = home / "warehouse" / "restock.duckdb"
        warehouse = Path(values.get("warehouse", own_warehouse)).expanduser().absolute()
        is_own = warehouse == own_warehouse
        defaults: dict[str, Any] = {
            "source": source,
            "raw_dir": home / "data" / "raw" / source,
            "landing": f"{warehouse}.landing",
            "dashboards": home / "dashboards" / "build" if is_own else f"{warehouse}.pages",
            "models": home / "warehouse" / "models" if is_own else f"{warehouse}.models",
        }
        values = defaults | values | {"home": home, "warehouse": warehouse}
        timezone = str(values.pop("timezone", reading.timezone))
        values["reading"] = replace(reading, timezone=timezone)
        try:
            if values.get("as_of"):
                values["as_of"] = date.fromisoformat(str(values["as_of"])).isoformat()
        except ValueError:
            raise SettingsError(
                f"invalid as_of '{values['as_of']}': write it as 2018-01-02"
            ) from None
        days = str(values.get("as_of_days", ""))
        if days and not days.isdecimal():
            raise SettingsError(f"invalid as_of_days '{days}': use a whole number, 0 or more")
        if days and values.get("as_of"):
            raise SettingsError("as_of and as_of_days both set the scoring date: use one")
        memory.in_bytes(str(values.get("memory_limit", "")))
        settings = cls(**{name: _typed(name, kinds[name], value) for name, value in values.items()})
        if settings.keep_releases < 1:
            raise SettingsError(f"invalid keep_releases '{settings.keep_releases}': use 1 or more")
        return settings

    @property
    def demo_dir(self) -> Path:
        """The only folder that the files of The Complete Journey are written to."""
        return self.home / "data" / "raw" / "complete_journey"

    @property
    def is_fetched(self) -> bool:
        """Whether the raw files were fetched from a database."""
        return self.raw_dir.parent == _mongo_dir(self.home)

    def check_paths(self) -> None:
        """Raise a SettingsError if a path is a file instead of a folder, or the other way round."""
        folders = {
            "RESTOCK_HOME": self.home,
            "--raw-dir (RESTOCK_RAW_DIR)": self.raw_dir,
            "RESTOCK_WAREHOUSE or RESTOCK_HOME": self.warehouse.parent,
            "RESTOCK_LANDING or RESTOCK_WAREHOUSE": self.landing,
            "RESTOCK_MODELS or RESTOCK_WAREHOUSE": self.models,
            "RESTOCK_DASHBOARDS or RESTOCK_WAREHOUSE": self.dashboards,
        }
        for variable, folder in folders.items():
            found = next(path for path in (folder, *folder.parents) if path.exists())
            if not found.is_dir():
                raise SettingsError(
                    f"{found} is not a folder. Set {variable} to a folder, or to a new path."
                )
        if self.warehouse.exists() and not self.warehouse.is_file():
            raise SettingsError(
                f"{self.warehouse} is not a file. Set RESTOCK_WAREHOUSE to a file name such as "
                f"{self.warehouse / 'restock.duckdb'}."
            )

    def moved_to(self, folder: Path) -> Self:
        """Return the settings of a run that works in ``folder`` until it is published."""
        return replace(
            self,
            warehouse=folder / self.warehouse.name,
            dashboards=folder / "pages",
            models=folder / "models",
        )

    def for_model(self, name: str) -> Self:
        """Return the settings for a model; ``parameters`` apply to the configured model only.

        Under `AUTO`, that is `DEFAULT_MODEL`.
        """
        configured = DEFAULT_MODEL if self.model == AUTO else self.model
        return replace(self, model=name, parameters=self.parameters if name == configured else {})

    @property
    def duckdb_memory(self) -> str:
        """The memory limit for DuckDB in its own syntax; beyond it, DuckDB spills to disk."""
        return memory.of_duckdb(self.memory_limit)

    @property
    def target(self) -> Path:
        """The folder of dbt's manifest and run results; ``DBT_TARGET_PATH`` overrides it."""
        return self.home / os.environ.get("DBT_TARGET_PATH", "target")

    @property
    def dbt_log(self) -> Path:
        """The log file of dbt; ``DBT_LOG_PATH`` overrides its folder."""
        return Path(os.environ.get("DBT_LOG_PATH", self.home / "logs")).absolute() / "dbt.log"

    def prepare_workspace(self) -> None:
        """Create the folder of the warehouse, and let numba cache compiled code in the workspace.

        Raises:
            StorageError: a folder is not writable.
        """
        for folder, variable in (
            (self.home / "target", "RESTOCK_HOME"),
            (self.warehouse.parent, "RESTOCK_WAREHOUSE or RESTOCK_HOME"),
        ):
            try:
                folder.mkdir(parents=True, exist_ok=True)
                is_writable = os.access(folder, os.W_OK | os.X_OK)
                reason = "permission denied"
            except OSError as error:
                is_writable, reason = False, str(error.strerror).lower()
            if not is_writable:
                raise StorageError(
                    f"cannot write to {folder} ({reason}). Set {variable} to a path that you can "
                    "write to."
                )
        os.environ.setdefault("NUMBA_CACHE_DIR", str(self.home / "target" / "numba"))

    @contextmanager
    def exported(self) -> Iterator[None]:
        """Set the environment variables that the dbt project reads, and restore them on exit."""
        variables = {
            "RESTOCK_SOURCE": self.source,
            "RESTOCK_RAW_DIR": str(self.raw_dir),
            "RESTOCK_WAREHOUSE": str(self.warehouse),
            "RESTOCK_LANDING": str(self.landing),
            "RESTOCK_AS_OF": self.as_of,
            "RESTOCK_AS_OF_DAYS": self.as_of_days,
            "RESTOCK_MEMORY_LIMIT": self.memory_limit,
        }
        before = {name: os.environ.get(name) for name in variables}
        os.environ.update(variables)
        try:
            yield
        finally:
            for name, value in before.items():
                if value is None:
                    del os.environ[name]
                else:
                    os.environ[name] = value


def _mongo_dir(home: Path) -> Path:
    return home / "data" / "raw" / "mongodb"


def _variables() -> list[str]:
    """Return the names of the environment variables that `Settings.load` reads."""
    simple = (str, int, Path)
    names = [field.name for field in fields(Settings) if field.type in simple]
    return [f"RESTOCK_{name.upper()}" for name in (*names, "timezone")]


def _reject_unknown_variables() -> None:
    known = _variables()
    for name, value in os.environ.items():
        if name.upper().startswith("RESTOCK_") and name not in known and value:
            near = difflib.get_close_matches(name.upper(), known, 1, cutoff=0)
            raise SettingsError(
                f"unknown environment variable {name}: did you mean {near[0]}? Unset it, or use "
                f"one of {', '.join(known)}."
            )


def _read_toml(path: Path) -> dict[str, Any]:
    if not path.exists():
        return {}
    try:
        values = tomllib.loads(path.read_text())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path}: {error}") from None
    for name in values:
        if name not in IN_TOML:
            raise SettingsError(f"{path}: unknown setting '{name}': use {', '.join(IN_TOML)}")
    try:
        reading = Reading.from_toml(
            values.get("reading", {}), values.pop("columns", {}), values.pop("events", {})
        )
    except (ValueError, TypeError) as error:
        raise SettingsError(f"{path}: {error}") from None
    return values | {"reading": reading}


def _typed(name: str, kind: str, value: Any) -> Any:
    if name in ("reading", "database"):
        return value
    if "Path" in kind:
        return Path(value).expanduser().absolute()
    if "int" in kind:
        try:
            return int(value)
        except ValueError:
            raise SettingsError(f"invalid {name} '{value}': use a whole number") from None
    if "dict" in kind:
        if not isinstance(value, dict):
            raise SettingsError(f"invalid {name} '{value}': make it a table in restock.toml")
        return value
    return str(value)
