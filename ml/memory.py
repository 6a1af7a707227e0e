"""The memory limit, and how DuckDB and Python share it."""

import os
import re
from pathlib import Path

from ml.errors import SettingsError

DEFAULT = 3 << 30
"""The default limit in bytes. More does not make a full run of 33 million lines faster."""
SHARE_OF_MACHINE = 0.6
"""The default limit on a small machine, as a share of its memory."""
PYTHON = 1 << 30
"""Bytes for the libraries, a million training pairs and a batch of scores.

DuckDB gets the rest of the limit and spills to disk beyond it.
"""
_UNITS = {"": 0, "K": 10, "M": 20, "G": 30, "T": 40}
# cgroup v2, then v1. Without a limit, v2 says "max" and v1 a huge number.
_CGROUP = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))


def of_machine() -> int:
    """Return the machine's memory in bytes, or the cgroup's limit if that is lower."""
    limits = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    for path in _CGROUP:
        if path.exists() and (text := path.read_text().strip()).isdigit():
            limits.append(int(text))
    return min(limits)


def in_bytes(limit: str) -> int:
    """Return a limit such as ``3GB`` or ``1.5 GiB`` in bytes; units are powers of 1024.

    An empty limit means 3 GiB, or 60% of the machine's memory if that is less.

    Raises:
        SettingsError: ``limit`` is not a positive size.
    """
    if not limit:
        return min(DEFAULT, int(of_machine() * SHARE_OF_MACHINE))
    written = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMGT]?)(?:i?B)?", limit.strip(), re.IGNORECASE)
    if written is None or float(written[1]) == 0:
        raise SettingsError(f"invalid memory_limit '{limit}': write it as 3GB or 500MB")
    return int(float(written[1]) * 2 ** _UNITS[written[2].upper()])


def of_duckdb(limit: str) -> str:
    """Return DuckDB's part of a limit in DuckDB's syntax: all but Python's 1 GiB, at least half."""
    total = in_bytes(limit)
    return f"{max(total - PYTHON, total // 2) >> 20}MiB"
