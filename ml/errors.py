"""The errors that a user can act on.

A command prints the message and exits with the code of the error's class:

    RestockError                 1    a job failed
    ├── SettingsError            2    a flag, a variable or restock.toml is invalid
    ├── SourceError              3    the raw files are missing or malformed
    │   └── sources.SourceError  3    with the file, line and column
    ├── BusyError                4    another process is using the warehouse; try again later
    ├── StorageError             5    the disk is full, or a folder is not writable
    ├── TimeLimitError         124    the run took longer than --timeout
    └── InterruptionError      130    the user pressed Ctrl-C

Every message says what is wrong, where, and what to do. `ml.console` turns errors of the operating
system and of DuckDB into these. Any other exception is a bug and ends with a traceback.
"""

import shutil
from pathlib import Path


class RestockError(Exception):
    """A job failed. This is the base class of every error that a user can act on."""

    exit_code = 1


class SettingsError(RestockError):
    """A flag, an environment variable or ``restock.toml`` has an invalid value."""

    exit_code = 2


class SourceError(RestockError):
    """The raw files are missing or malformed."""

    exit_code = 3


class BusyError(RestockError):
    """Another process is using the warehouse. The same command works once that process ends."""

    exit_code = 4


class StorageError(RestockError):
    """The disk is full, or a folder is not writable."""

    exit_code = 5


class TimeLimitError(RestockError):
    """The run took longer than it may. The exit code is that of the command ``timeout``."""

    exit_code = 124


class InterruptionError(RestockError):
    """The user pressed Ctrl-C. The exit code is the one shells use for an interrupted command."""

    exit_code = 130


def busy(warehouse: Path) -> BusyError:
    """Return the error for a warehouse that another process has open."""
    return BusyError(
        f"{warehouse} is open in another process, and DuckDB allows only one writer. "
        "Close it there (a DuckDB shell, a notebook or another run) and try again."
    )


def disk_full(folder: Path) -> StorageError:
    """Return the error for a disk with no space left; ``folder`` is on that disk."""
    free = shutil.disk_usage(folder).free / 2**20 if folder.exists() else 0
    return StorageError(
        f"the disk is full: cannot write to {folder} ({free:,.0f} MiB free). Free some space, or "
        "set RESTOCK_WAREHOUSE to a path on a larger disk. The published release is unchanged."
    )
