"""A dbt-duckdb plugin: a plain `dbt build` fetches raw files and respects the memory limit."""

from typing import Any

from dbt.adapters.duckdb.plugins import BasePlugin
from dbt_common.exceptions import DbtRuntimeError

from ml import sources
from ml.errors import RestockError
from ml.settings import Settings


class Plugin(BasePlugin):
    """Lands raw files that have changed, before dbt opens the warehouse."""

    def initialize(self, plugin_config: dict[str, Any]) -> None:
        """Land the raw files in ``RESTOCK_RAW_DIR`` if they have changed.

        Raises:
            DbtRuntimeError: the raw files are missing or malformed. dbt prints errors of this
                class without a traceback.
        """
        try:
            sources.take_in(Settings.load())
        except RestockError as error:
            raise DbtRuntimeError(str(error)) from None

    def update_connection_config(self, creds: Any, config: dict[str, Any]) -> None:
        """Set DuckDB's part of ``RESTOCK_MEMORY_LIMIT`` on the connection."""
        config["memory_limit"] = Settings.load().duckdb_memory
