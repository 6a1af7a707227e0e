"""The callback that jobs report their progress to."""

from collections.abc import Callable

Progress = Callable[[str, int, int], None]
"""Called with a description of the current work, the units done, and the total units."""


def silent(what: str, done: int, total: int) -> None:
    """Ignore all progress."""
