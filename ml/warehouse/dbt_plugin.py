"""Lets a plain `dbt build` start from the raw files, within its memory, as `restock build` does."""

from typing import Any

from dbt.adapters.duckdb.plugins import BasePlugin
from dbt_common.exceptions import DbtRuntimeError

from ml import sources
from ml.errors import RestockError
from ml.settings import Settings


class Plugin(BasePlugin):
    """Fetches and lands the raw files before dbt opens the warehouse, unless they are the same."""

    def initialize(self, plugin_config: dict[str, Any]) -> None:
        """Land the files that ``RESTOCK_SOURCE`` and ``RESTOCK_RAW_DIR`` name.

        Raises:
            DbtRuntimeError: if they are missing or malformed; dbt tells any other with a traceback.
        """
        try:
            sources.take_in(Settings.load())
        except RestockError as error:
            raise DbtRuntimeError(str(error)) from None

    def update_connection_config(self, creds: Any, config: dict[str, Any]) -> None:
        """Keep DuckDB to its part of ``RESTOCK_MEMORY_LIMIT``."""
        config["memory_limit"] = Settings.load().duckdb_memory
