"""Where things are and how a model is made.

Paths and the source come from ``RESTOCK_*`` variables, which dbt reads too; parameters come from
``restock.toml``. A flag of the command line wins over a variable, a variable over the file.

Everything that Restock writes is in one *workspace*: the clone, or for an installed package the
working folder. ``RESTOCK_HOME`` moves it. A warehouse elsewhere (``RESTOCK_WAREHOUSE``) has its
landing folder, models and pages beside it, so two warehouses never share them.
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
"""The dbt project: the clone, or the copy that the wheel carries. Nothing is written into it."""
SOURCES = ("complete_journey", "instacart", "order_log")
DAY = {"as_of", "as_of_days"}  # two ways to name one
IN_TOML = ("model", "parameters", "seed", "threads", "training_rows", "batch_rows")


@dataclass(frozen=True)
class Settings:
    """Everything that a job needs to know; paths are absolute."""

    source: str
    home: Path
    """The workspace."""
    raw_dir: Path
    warehouse: Path
    landing: Path
    dashboards: Path
    models: Path
    as_of: str = ""
    """Date that cutoff 0 stands on, as 2018-01-02; empty for the day after the newest order."""
    as_of_days: str = ""
    """Or days after each shopper's last order that it stands on, for data without dates."""
    memory_limit: str = ""
    """Memory for DuckDB and Python together, such as 3GB; by default a share of the machine's."""
    model: str = "gradient_boosting"
    seed: int = 7
    threads: int = 0
    """Threads for DuckDB and the model; 0 takes every core."""
    training_rows: int = 1_000_000
    """About as many pairs as are trained on: what bounds the memory and the time of training."""
    batch_rows: int = 250_000
    """Pairs that are scored at a time: what bounds the memory of scoring."""
    parameters: dict[str, Any] = field(default_factory=dict, hash=False)
    """Parameters of the model that differ from its defaults in ``ml/modelling/estimators.py``."""

    @classmethod
    def load(cls, **flags: str | int | Path | None) -> Self:
        """Collect the settings from flags, ``RESTOCK_*`` variables and ``restock.toml``.

        Raises:
            SettingsError: if a value is unknown or of the wrong type.
        """
        kinds = {field.name: str(field.type) for field in fields(cls)}
        home = Path(os.environ.get("RESTOCK_HOME") or (PROJECT if IS_CLONE else Path.cwd()))
        home = home.expanduser().absolute()
        own_toml = home / "restock.toml"
        values = _read_toml(own_toml if own_toml.exists() else PROJECT / "restock.toml")
        for name in kinds:
            if (variable := os.environ.get(f"RESTOCK_{name.upper()}", "")) != "":
                values[name] = variable
        given = {name: value for name, value in flags.items() if value is not None}
        if DAY & given.keys():  # either replaces both
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
        try:
            if values.get("as_of"):
                values["as_of"] = date.fromisoformat(str(values["as_of"])).isoformat()
        except ValueError:
            raise SettingsError(f"as_of is '{values['as_of']}': write it as 2018-01-02") from None
        days = str(values.get("as_of_days", ""))
        if days and not days.isdecimal():
            raise SettingsError(f"as_of_days is '{days}': it must be a whole number, 0 or more")
        if days and values.get("as_of"):
            raise SettingsError("as_of and as_of_days are two ways to name a day: use one")
        memory.in_bytes(str(values.get("memory_limit", "")))
        return cls(**{name: _typed(name, kinds[name], value) for name, value in values.items()})

    def moved_to(self, folder: Path) -> Self:
        """Return the settings with every output under ``folder``: work that is not published."""
        return replace(
            self,
            warehouse=folder / self.warehouse.name,
            dashboards=folder / "pages",
            models=folder / "models",
        )

    def for_model(self, name: str) -> Self:
        """Return the settings for a model; the parameters are only those of the one set here."""
        return self if name == self.model else replace(self, model=name, parameters={})

    @property
    def duckdb_memory(self) -> str:
        """Memory that DuckDB may take before it spills to disk, as DuckDB writes it."""
        return memory.of_duckdb(self.memory_limit)

    @property
    def target(self) -> Path:
        """Where dbt leaves its manifest and run results; dbt's own variable moves it."""
        return self.home / os.environ.get("DBT_TARGET_PATH", "target")

    @property
    def dbt_log(self) -> Path:
        """What dbt said; dbt's own variable moves it."""
        return Path(os.environ.get("DBT_LOG_PATH", self.home / "logs")).absolute() / "dbt.log"

    def prepare_workspace(self) -> None:
        """Make the folder of the warehouse, and let numba keep compiled code in the workspace.

        Raises:
            StorageError: if a folder cannot be written.
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
                    f"{folder} cannot be written ({reason}). Set {variable} to a path where you "
                    "can write."
                )
        os.environ.setdefault("NUMBA_CACHE_DIR", str(self.home / "target" / "numba"))

    @contextmanager
    def exported(self) -> Iterator[None]:
        """Set the variables that the dbt project reads, for as long as the context lasts."""
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
            raise SettingsError(f"{path}: unknown setting '{name}'; known are {', '.join(IN_TOML)}")
    return values


def _typed(name: str, kind: str, value: Any) -> Any:
    if "Path" in kind:
        return Path(value).expanduser().absolute()
    if "int" in kind:
        try:
            return int(value)
        except ValueError:
            raise SettingsError(f"{name} is '{value}': it must be a whole number") from None
    if "dict" in kind:
        if not isinstance(value, dict):
            raise SettingsError(f"{name} is '{value}': it must be a table in restock.toml")
        return value
    return str(value)
