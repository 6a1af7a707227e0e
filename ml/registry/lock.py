"""The lock that allows one job at a time on a warehouse."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ml.errors import BusyError
from ml.settings import Settings


@contextmanager
def exclusive(settings: Settings) -> Iterator[None]:
    """Hold the lock of a warehouse. The operating system releases it if the process dies.

    Raises:
        BusyError: another job holds the lock.
    """
    path = Path(f"{settings.warehouse}.lock")
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            raise BusyError(
                f"another restock job (process {file.read().strip() or 'unknown'}) is using "
                f"{settings.warehouse}. Nothing was changed. Try again when that job ends."
            ) from None
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield
