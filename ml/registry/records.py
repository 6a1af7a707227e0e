"""Records: files of JSON lines that only grow, beside the warehouse and outside the releases.

A rollback must not erase its own record, so records are not in a release. Each build loads them
into tables of the schema ``ml``. A line is written at once, and a line that a kill cut short is no
record.
"""

import json
import os
from pathlib import Path
from typing import Any

from ml.settings import Settings

Record = dict[str, Any]


def file(settings: Settings, name: str) -> Path:
    """Return the file of the records with a name, such as ``runs``."""
    return Path(f"{settings.warehouse}.{name}.jsonl")


def append(file: Path, record: Record) -> None:
    """Append a record to a file, which need not exist."""
    line = json.dumps(record) + "\n"
    descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o666)
    try:
        size = os.fstat(descriptor).st_size
        if size and os.pread(descriptor, 1, size - 1) != b"\n":  # a kill cut the last line short
            line = "\n" + line
        os.write(descriptor, line.encode())
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read(file: Path) -> list[Record]:
    """Return the records of a file, the oldest first; none if it does not exist."""
    if not file.exists():
        return []
    found = (_parsed(line) for line in file.read_bytes().split(b"\n"))
    return [record for record in found if record is not None]


def is_ours(file: Path) -> bool:
    """Return whether a file is empty or begins as records do."""
    return file.is_file() and file.read_bytes()[:1] in (b"", b"{")


def _parsed(line: bytes) -> Record | None:
    try:
        record = json.loads(line)
    except ValueError:
        return None
    return record if isinstance(record, dict) else None
