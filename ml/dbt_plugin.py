"""Lets a plain `dbt build` start from the raw files, within its memory, as `restock build` does."""

from typing import Any

from dbt.adapters.duckdb.plugins import BasePlugin

from ml import sources
from ml.settings import Settings


class Plugin(BasePlugin):
    """Fetches and lands the raw files before dbt opens the warehouse, unless they are the same."""

    def initialize(self, plugin_config: dict[str, Any]) -> None:
        """Land the files that ``RESTOCK_SOURCE`` and ``RESTOCK_RAW_DIR`` name.

        Raises:
            SourceError: if they are missing or malformed.
        """
        sources.intake(Settings.load())

    def update_connection_config(self, creds: Any, config: dict[str, Any]) -> None:
        """Keep DuckDB to its part of ``RESTOCK_MEMORY_LIMIT``."""
        config["memory_limit"] = Settings.load().duckdb_memory
