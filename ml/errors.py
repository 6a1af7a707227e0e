"""What can go wrong for a user, each kind with the exit code that a scheduler sees."""

import shutil
from pathlib import Path


class RestockError(Exception):
    """A job cannot go on. The message says what is wrong, where, and what to do."""

    exit_code = 1


class SettingsError(RestockError):
    """A flag, a variable or restock.toml asks for something that does not exist."""

    exit_code = 2


class SourceError(RestockError):
    """The raw files are missing or malformed."""

    exit_code = 3


class BusyError(RestockError):
    """Another process holds the warehouse. Nothing is wrong: try again later."""

    exit_code = 4


class StorageError(RestockError):
    """The disk is full, or a folder cannot be written."""

    exit_code = 5


class InterruptionError(RestockError):
    """The user pressed Ctrl-C. The exit code is that of a shell for an interrupted command."""

    exit_code = 130


def busy(warehouse: Path) -> BusyError:
    """Another process has the warehouse open."""
    return BusyError(
        f"{warehouse} is open in another process, and DuckDB lets only one write. "
        "Close it there (a DuckDB shell, a notebook, another run) and try again."
    )


def disk_full(folder: Path) -> StorageError:
    """No room is left to write in."""
    free = shutil.disk_usage(folder).free / 2**20 if folder.exists() else 0
    return StorageError(
        f"no room left to write in {folder} ({free:,.0f} MiB free). Make room, or set "
        "RESTOCK_WAREHOUSE to a path on a larger disk. What was published before is untouched."
    )
