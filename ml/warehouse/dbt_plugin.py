"""A dbt-duckdb plugin that gives a plain `dbt build` the settings of `restock`."""

import os
from pathlib import Path
from typing import Any

from dbt.adapters.duckdb.plugins import BasePlugin
from dbt_common.exceptions import DbtRuntimeError

from ml import sources
from ml.errors import RestockError, SettingsError
from ml.settings import Settings
from ml.sources.raw import quoted
from ml.warehouse.connection import check_ownership


class Plugin(BasePlugin):
    """Checks the paths and lands raw files that have changed, before dbt opens the warehouse."""

    def initialize(self, plugin_config: dict[str, Any]) -> None:
        """Land the raw files in ``RESTOCK_RAW_DIR`` if they have changed.

        Raises:
            DbtRuntimeError: a variable is wrong, a path holds something that Restock did not
                create, or the raw files are missing or malformed. dbt prints errors of this class
                without a traceback.
        """
        try:
            settings = Settings.load()
            settings.check_paths()
            check_ownership(settings.warehouse)
            sources.check_landing(settings.landing)
            settings = sources.with_source(settings)
            # dbt has chosen its models by now, and reads only the variable.
            if settings.source == "instacart" and not os.environ.get("RESTOCK_SOURCE"):
                raise SettingsError(
                    f"{settings.raw_dir} has Instacart's files. Set RESTOCK_SOURCE=instacart."
                )
            sources.take_in(settings)
        except (RestockError, OSError) as error:
            raise DbtRuntimeError(str(error)) from None

    def update_connection_config(self, creds: Any, config: dict[str, Any]) -> None:
        """Set the path of the warehouse and DuckDB's part of ``RESTOCK_MEMORY_LIMIT``.

        The path in ``profiles.yml`` is relative to the working folder, and this one to the
        workspace.
        """
        settings = Settings.load()
        creds.path = str(settings.warehouse)
        settings.warehouse.parent.mkdir(parents=True, exist_ok=True)
        config["memory_limit"] = settings.duckdb_memory

    def configure_connection(self, conn: Any) -> None:
        """Define the macros that read the landed files, whatever the working folder."""
        define_landed(conn, Settings.load().landing)


def define_landed(con: Any, landing: Path) -> None:
    """Define ``landed(name)`` and ``landed_events()``, which read the files of a landing."""
    folder = quoted(landing, pattern=True)
    con.execute(
        f"create or replace macro landed(file) as table select * from "
        f"read_parquet({folder} || '/' || file || '.parquet', hive_partitioning = false)"
    )
    # DuckDB looks for the files here, and Instacart has no events.
    if (landing / "events").exists():
        con.execute(
            f"create or replace macro landed_events() as table {sources.landed_events(landing)}"
        )
