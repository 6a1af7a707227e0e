"""The time that a run may take."""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from threading import Event, Lock, Thread

from ml.errors import RestockError, TimeLimitError


class Deadline:
    """Ends the process if the steps of a run take too long.

    A long query hears no signal, and dbt runs its queries in threads of its own. So a thread ends
    the process from within, as a kill would: the operating system releases the lock, and the
    published release stays. Only a step is ended, so a release is never published by half.
    """

    def __init__(self, minutes: float, fail: Callable[[RestockError], object]) -> None:
        """Start the clock; ``fail`` shows the error."""
        self._minutes = minutes
        self._fail = fail
        self._ends = time.monotonic() + 60 * minutes

    @contextmanager
    def over(self, step: str, clean_up: Callable[[str], object]) -> Iterator[None]:
        """End the process if this context lasts too long.

        Args:
            step: name of the step.
            clean_up: called first, with the message of the error.
        """
        is_over, deciding = Event(), Lock()

        def watch() -> None:
            is_over.wait(max(0, self._ends - time.monotonic()))
            with deciding:
                if is_over.is_set():
                    return
                error = TimeLimitError(
                    f"the run was ended in the step {step}: it took longer than --timeout "
                    f"{self._minutes:g} (minutes). Nothing was published. Run it again with more "
                    "time, or see which step is slow: `restock status --json` has the seconds of "
                    "those before."
                )
                with suppress(Exception):  # such as a full disk: the process must end
                    clean_up(str(error))
                    self._fail(error)
                os._exit(error.exit_code)

        Thread(target=watch, daemon=True).start()
        try:
            yield
        finally:
            with deciding:
                is_over.set()
