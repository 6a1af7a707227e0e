"""The settings of a job: paths, the source, the scoring date, and how to train a model.

Paths and the source come from ``RESTOCK_*`` variables, which dbt reads too. Model settings come
from ``restock.toml``. A command-line flag overrides a variable, and a variable overrides the file.

Restock writes everything to one *workspace*: the clone, or the current folder for an installed
package. ``RESTOCK_HOME`` moves it. ``RESTOCK_WAREHOUSE`` moves the warehouse alone; its landing
folder, models and pages then sit beside it, so two warehouses never share them.
"""

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

_PACKAGE = Path(__file__).resolve().parent
_WHEEL_PROJECT = _PACKAGE / "project"
IS_CLONE = not _WHEEL_PROJECT.is_dir()
PROJECT = _PACKAGE.parent if IS_CLONE else _WHEEL_PROJECT
"""The dbt project: the clone, or the read-only copy inside the wheel."""
SOURCES = ("complete_journey", "instacart", "order_log")
DAY = {"as_of", "as_of_days"}
"""The two settings for the scoring date; a job takes one of them."""
IN_TOML = ("model", "parameters", "seed", "threads", "training_rows", "batch_rows", "reading")
"""The settings that ``restock.toml`` may contain."""


@dataclass(frozen=True)
class Reading:
    """How to read the raw files of an order log: the table ``[reading]`` of ``restock.toml``."""

    timezone: str = ""
    """The time zone of the shop, for times in UTC; empty for UTC. ``RESTOCK_TIMEZONE`` sets it."""
    allow_future: bool = False
    """Whether to accept orders ahead of today."""
    allow_gap: bool = False
    """Whether to accept a few orders that are years before or after all others."""
    cancelled_prefix: str = ""
    """What the ids of cancelled orders start with; empty to recognise them by their quantities."""
    skip_missing_shoppers: bool = False
    """Whether to leave out lines without a shopper; otherwise such a line is an error."""
    skip_shoppers: tuple[str, ...] = ()
    """Ids of shoppers to leave out, such as the one of all customers without an account."""
    keep_ids: tuple[str, ...] = ()
    """Ids that look like a word for a missing value, such as ``NAN``."""

    @classmethod
    def load(cls, table: Any) -> Self:
        """Check the values of a TOML table.

        Raises:
            SettingsError: a setting is unknown, or its value has the wrong type.
        """
        if not isinstance(table, dict):
            raise SettingsError(f"invalid reading '{table}': make it a table in restock.toml")
        kinds = {field.name: type(field.default) for field in fields(cls)}
        values = {}
        for name, value in table.items():
            if name not in kinds:
                raise SettingsError(
                    f"unknown setting '{name}' under [reading]: use {', '.join(kinds)}"
                )
            if kinds[name] is tuple and isinstance(value, list):
                value = tuple(map(str, value))
            if not isinstance(value, kinds[name]):
                expected = {bool: "true or false", str: "text", tuple: "a list"}[kinds[name]]
                raise SettingsError(f"invalid {name} '{value}' under [reading]: use {expected}")
            values[name] = value
        return cls(**values)


@dataclass(frozen=True)
class Settings:
    """The settings of one job. Paths are absolute."""

    source: str
    home: Path
    """The workspace."""
    raw_dir: Path
    warehouse: Path
    landing: Path
    dashboards: Path
    models: Path
    as_of: str = ""
    """The date of cutoff 0, such as 2018-01-02; empty for the day after the newest order."""
    as_of_days: str = ""
    """Days from each shopper's last order to cutoff 0, for data without dates; empty if unused."""
    memory_limit: str = ""
    """Memory for DuckDB and Python together, such as 3GB; empty for 60% of the machine's."""
    model: str = "gradient_boosting"
    seed: int = 7
    threads: int = 0
    """Threads for DuckDB and the model; 0 uses every core."""
    training_rows: int = 1_000_000
    """Approximate number of training examples, which bounds the memory and the time of training."""
    batch_rows: int = 250_000
    """Pairs per scoring batch, which bounds the memory of scoring."""
    parameters: dict[str, Any] = field(default_factory=dict, hash=False)
    """Model parameters that override the defaults in ``ml/modelling/estimators.py``."""
    reading: Reading = field(default_factory=Reading)
    """How to read the raw files of an order log."""

    @classmethod
    def load(cls, **flags: str | int | Path | None) -> Self:
        """Read the settings from flags, then ``RESTOCK_*`` variables, then ``restock.toml``.

        A flag that is None counts as not given.

        Raises:
            SettingsError: a setting is unknown, or its value is invalid.
        """
        kinds = {field.name: str(field.type) for field in fields(cls)}
        home = Path(os.environ.get("RESTOCK_HOME") or (PROJECT if IS_CLONE else Path.cwd()))
        home = home.expanduser().absolute()
        own_toml = home / "restock.toml"
        values = _read_toml(own_toml if own_toml.exists() else PROJECT / "restock.toml")
        reading = values.pop("reading", {})
        for name in kinds.keys() - {"reading"}:
            if (variable := os.environ.get(f"RESTOCK_{name.upper()}", "")) != "":
                values[name] = variable
        given = {name: value for name, value in flags.items() if value is not None}
        if DAY & given.keys():  # a flag for either one overrides both variables
            values = {name: value for name, value in values.items() if name not in DAY}
        values |= given

        source = str(values.get("source", SOURCES[0]))
        if source not in SOURCES:
            raise SettingsError(f"unknown source '{source}': choose one of {', '.join(SOURCES)}")
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
        values["reading"] = Reading.load(reading)
        if timezone := os.environ.get("RESTOCK_TIMEZONE"):
            values["reading"] = replace(values["reading"], timezone=timezone)
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
        return cls(**{name: _typed(name, kinds[name], value) for name, value in values.items()})

    def moved_to(self, folder: Path) -> Self:
        """Return the settings of a run that works in ``folder`` until it is published."""
        return replace(
            self,
            warehouse=folder / self.warehouse.name,
            dashboards=folder / "pages",
            models=folder / "models",
        )

    def for_model(self, name: str) -> Self:
        """Return the settings for a model; ``parameters`` apply to the configured model only."""
        return self if name == self.model else replace(self, model=name, parameters={})

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
    return values


def _typed(name: str, kind: str, value: Any) -> Any:
    if name == "reading":
        return value  # Reading.load has checked it
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
