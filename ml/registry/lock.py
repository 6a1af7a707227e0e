"""The lock of a warehouse: one job at a time."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ml.errors import BusyError
from ml.settings import Settings


@contextmanager
def exclusive(settings: Settings) -> Iterator[None]:
    """Let one job at a time work on a warehouse; the operating system frees it if the job dies.

    Raises:
        BusyError: if another job holds it.
    """
    path = Path(f"{settings.warehouse}.lock")
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            raise BusyError(
                f"another restock job (process {file.read().strip() or 'unknown'}) is working on "
                f"{settings.warehouse}. Wait until it ends and try again; nothing was changed."
            ) from None
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield
