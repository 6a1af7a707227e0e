"""The error that stops a build, and what its message needs: a place and a suggestion."""

import difflib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path


class SiteError(Exception):
    """Why the site cannot be built; as text ``file:line: what is wrong; what to do``."""

    def __init__(self, place: str | Path, what: str) -> None:
        super().__init__(f"{place}: {what}")


@contextmanager
def located(place: str, about: str = "") -> Iterator[None]:
    """Turn a ValueError, whose text is ``what is wrong; what to do``, into a SiteError."""
    try:
        yield
    except ValueError as error:
        raise SiteError(place, f"{about}{error}") from error


def suggest(name: str, known: Iterable[str]) -> str:
    """Return advice for an unknown name: the closest known name, or else all of them."""
    near = difflib.get_close_matches(name, names := sorted(known), n=1)
    return f"did you mean {near[0]!r}?" if near else f"known: {', '.join(names) or 'none'}"
