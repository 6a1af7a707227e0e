"""How much memory there is, and how DuckDB and Python share it."""

import os
import re
from pathlib import Path

from ml.errors import SettingsError

SHARE_OF_MACHINE = 0.6
# What the libraries, a million training pairs and a batch of scores take. The rest is DuckDB's,
# which spills to disk what does not fit.
PYTHON = 1 << 30
_UNITS = {"": 0, "K": 10, "M": 20, "G": 30, "T": 40}
# Of a container, version 2 and version 1; "max" or a huge number where there is no limit.
_CGROUP = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))


def of_machine() -> int:
    """Return the bytes of memory that the machine has, or the cgroup that this process is in."""
    limits = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    for path in _CGROUP:
        if path.exists() and (text := path.read_text().strip()).isdigit():
            limits.append(int(text))
    return min(limits)


def in_bytes(limit: str) -> int:
    """Read a limit such as ``3GB`` or ``1.5 GiB``; without one, a share of the machine's.

    Raises:
        SettingsError: if it is none.
    """
    if not limit:
        return int(of_machine() * SHARE_OF_MACHINE)
    written = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMGT]?)(?:i?B)?", limit.strip(), re.IGNORECASE)
    if written is None or float(written[1]) == 0:
        raise SettingsError(f"memory_limit is '{limit}': write it as 3GB or 500MB")
    return int(float(written[1]) * 2 ** _UNITS[written[2].upper()])


def of_duckdb(limit: str) -> str:
    """Return DuckDB's part of a limit, as DuckDB writes it: all but Python's, and at least half."""
    total = in_bytes(limit)
    return f"{max(total - PYTHON, total // 2) >> 20}MiB"
