"""Documents in PostgreSQL, in the schema ``restock``.

    batches     one row per batch and document: batch, kind, id, document
    published   one row: the batch that readers see
    documents   the view of that batch, for readers: kind, id, document

Publishing changes the row of ``published``. So a query sees one batch, whatever its isolation
level, and neither waits for a switch nor holds one up.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import psycopg
from psycopg import errors

from ml.serving import store
from ml.serving.store import Document

_OPTIONS: dict[str, Any] = {"application_name": "restock", "connect_timeout": 5}
_NEEDS = "to create the schema restock, or make them its owner"
_SCHEMA = "create schema restock"
_TABLES = """
create table restock.batches (
    batch text, kind text, id text, document json not null, primary key (batch, kind, id)
);
create table restock.published (batch text not null);
create view restock.documents as
select kind, id, document from restock.batches
where batch = (select batch from restock.published)
"""


class _Postgres:
    """A PostgreSQL database."""

    def __init__(self, place: str, connection: psycopg.Connection) -> None:
        self._connection = connection
        # The server gives it back when the connection ends.
        if not self._value("select pg_try_advisory_lock(hashtextextended('restock publish', 0))"):
            raise store.in_use(place)
        with connection.transaction():
            if not self._value("select to_regnamespace('restock') is not null"):
                connection.execute(_SCHEMA)
            if not self._value("select to_regclass('restock.documents') is not null"):
                connection.execute(_TABLES)

    def published(self) -> str | None:
        return self._value("select batch from restock.published")

    def begin(self, batch: str) -> int:
        removed = self._connection.execute(
            "delete from restock.batches "
            "where batch <> %s and batch not in (select batch from restock.published)",
            [batch],
        )
        if removed.rowcount:  # so that the new batch takes their space
            self._connection.execute("vacuum restock.batches")
        return self._value("select count(*) from restock.batches where batch = %s", batch)

    def write(self, batch: str, documents: Sequence[Document]) -> None:
        copying = "copy restock.batches (batch, kind, id, document) from stdin"
        with self._connection.cursor() as cursor, cursor.copy(copying) as copy:
            for document in documents:
                copy.write_row((batch, *document))

    def switch(self, batch: str) -> None:
        with self._connection.transaction():
            self._connection.execute("delete from restock.published")
            self._connection.execute("insert into restock.published values (%s)", [batch])

    def _value(self, query: str, *values: str) -> Any:
        """Return the first value of a query; None without a row."""
        row = self._connection.execute(query, values).fetchone()
        return row and row[0]


@contextmanager
def connected(address: str, place: str) -> Iterator[_Postgres]:
    """Connect, and turn the errors of Psycopg into ours; see `ml.serving.store.connected`."""
    try:
        given = psycopg.conninfo.conninfo_to_dict(address)
    except psycopg.ProgrammingError:  # The text may have a password.
        raise store.invalid(place) from None
    options = {name: value for name, value in _OPTIONS.items() if name not in given}
    try:
        with psycopg.connect(address, autocommit=True, **options) as connection:
            yield _Postgres(place, connection)
    except errors.InsufficientPrivilege as error:
        raise store.rejected(place, _said(error), _NEEDS) from None
    except (errors.DuplicateTable, errors.UndefinedTable, errors.UndefinedColumn):
        raise store.foreign(place, "the schema restock") from None
    except psycopg.OperationalError as error:
        _, is_answer, said = str(error).partition("FATAL:")
        if is_answer and error.sqlstate is None:
            raise store.rejected(place, said.strip(), _NEEDS) from None
        if error.sqlstate is None or error.sqlstate.startswith(("08", "57P")):
            raise store.unreachable(place) from None
        raise store.failed(place, _said(error)) from None
    except psycopg.Error as error:
        raise store.failed(place, _said(error)) from None


def _said(error: psycopg.Error) -> str:
    return error.diag.message_primary or type(error).__name__
