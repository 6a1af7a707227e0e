"""Where a simulation writes: a new folder that appears whole or not at all."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import duckdb

from ml.errors import SettingsError, StorageError


@dataclass(frozen=True)
class Simulation:
    """The result of a simulation: its folder, the rows of each file by name, and its seconds."""

    folder: Path
    rows: dict[str, int]
    seconds: float


class Workspace:
    """A DuckDB connection, and the folder whose files it writes. `rows` counts them by name."""

    def __init__(self, con: duckdb.DuckDBPyConnection, files: Path) -> None:
        self.con = con
        self.files = files
        self.rows: dict[str, int] = {}

    def write(self, name: str, query: str, **parameters: object) -> None:
        """Write the rows of a query to a file."""
        path = str(self.files / name)
        self.con.execute(f"copy ({query}) to $path", {"path": path, **parameters})
        self.rows[name] = self.con.fetchall()[0][0]


@contextmanager
def workspace(out_dir: Path, memory_limit: str, threads: int | None) -> Iterator[Workspace]:
    """Yield a place to write files, and rename its folder to `out_dir` if all goes well.

    Raises:
        SettingsError: if `out_dir` is not empty.
        StorageError: if the disk is full or the folder cannot be written.
    """
    if out_dir.exists() and (not out_dir.is_dir() or any(out_dir.iterdir())):
        raise SettingsError(f"{out_dir} is not an empty folder. Empty it or choose a new folder.")
    config: dict[str, str | bool | int | float | list[str]] = {"memory_limit": memory_limit}
    if threads:
        config["threads"] = threads
    try:
        out_dir.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=out_dir.parent, prefix=f".{out_dir.name}-") as scratch:
            files = Path(scratch, "files")
            files.mkdir()
            with duckdb.connect(str(Path(scratch, "work.duckdb")), config=config) as con:
                yield Workspace(con, files)
            files.replace(out_dir)
    except (OSError, duckdb.IOException) as error:
        advice = "Free some space or choose another folder."
        raise StorageError(f"{out_dir} cannot be written: {error}. {advice}") from error
