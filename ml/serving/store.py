"""A database of documents that others read, by its address.

It has documents of two batches at most: the published one, which readers see, and one beside it.
That is the batch before, or the batch that is being written, and `Store.switch` publishes it at
once. An address may contain a password. Nothing that Restock prints has more of it than the host
and the name of the database.
"""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pkgutil import resolve_name
from typing import Any, Protocol

from ml.errors import BusyError, RestockError, SettingsError

Document = tuple[str, str, str]
"""A kind, an ID and a JSON text."""

_ADDRESS = re.compile(
    r"(?P<scheme>rediss?|postgres(?:ql)?)://"
    r"(?:[^:@/?#]*(?::[^:@/?#]*)?@)?"
    r"(?P<place>[^@/?#]*(?:/[^@/?#]*)?)(?:\?[^#]*)?"
)
_CONNECT = {
    "redis": "ml.serving.redis_store:connected",
    "rediss": "ml.serving.redis_store:connected",
    "postgres": "ml.serving.postgres_store:connected",
    "postgresql": "ml.serving.postgres_store:connected",
}


class Store(Protocol):
    """A database of documents."""

    def published(self) -> str | None:
        """Return the batch that readers see; None before the first one."""

    def begin(self, batch: str) -> int:
        """Return how many documents of a batch are there, and remove other unpublished ones."""

    def write(self, batch: str, documents: Sequence[Document]) -> None:
        """Add documents to a batch: all of them, or none if that fails."""

    def switch(self, batch: str) -> None:
        """Let readers see a batch in place of the one that they see."""


@contextmanager
def connected(address: str) -> Iterator[tuple[str, Store]]:
    """Yield the place of a database, which is safe to print, and the database.

    Raises:
        SettingsError: the address is not valid, a package is not installed, the server rejects the
            user, or names are in use that Restock did not create.
        BusyError: another process is publishing there.
        RestockError: no server answers, the connection is lost, or a command fails.
    """
    found = _ADDRESS.fullmatch(address)
    if not found:
        raise SettingsError(
            "the address to publish to is not valid. Write redis://USER:PASSWORD@HOST:PORT/0 or "
            "postgresql://USER:PASSWORD@HOST:PORT/DATABASE, and special characters of the user "
            "and the password as in %40 for @"
        )
    place = f"{found['scheme']}://{found['place']}"
    try:
        with resolve_name(_CONNECT[found["scheme"]])(address, place) as store:
            yield place, store
    except ModuleNotFoundError as error:
        if error.name not in ("redis", "psycopg"):
            raise
        extra = {"redis": "redis", "psycopg": "postgres"}[error.name]
        raise SettingsError(
            f"{place} needs the package {error.name}: run pip install 'restock[{extra}]'"
        ) from None


def invalid(place: str) -> SettingsError:
    """Return the error for an address that the client library does not accept."""
    return SettingsError(f"{place}: the address is not valid. Check the host, port and options.")


def rejected(place: str, said: str, needs: str) -> SettingsError:
    """Return the error for a user who may not connect, or who lacks a right."""
    return SettingsError(
        f"{place}: the server says: {said}. Correct the user, the password or the database in the "
        f"address, or give the user the right {needs}."
    )


def foreign(place: str, name: str) -> SettingsError:
    """Return the error for a name in use that Restock did not create."""
    return SettingsError(
        f"Refusing to overwrite {name} in {place}: Restock did not create it. Name another "
        "database."
    )


def unreachable(place: str) -> RestockError:
    """Return the error for a server that does not answer."""
    return RestockError(
        f"{place}: no server answers, or the connection was lost. Readers still have the batch "
        "before. Check that the server runs, the host, the port and TLS, and run the same command "
        "again: it goes on where it stopped."
    )


def in_use(place: str) -> BusyError:
    """Return the error for a database that another process publishes to."""
    return BusyError(f"{place}: another `restock publish` is writing there. Wait for its end.")


def failed(place: str, said: Any) -> RestockError:
    """Return the error for a command that the server refuses."""
    return RestockError(
        f"{place}: the server says: {said}. Readers still have the batch before. Correct that, and "
        "run the same command again: it goes on where it stopped."
    )
