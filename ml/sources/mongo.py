"""Fetch the collections of an order log from MongoDB, as Parquet files with every value as text.

The landing then reads these files like a user's own, so the same checks judge them. The files are
replaced once all collections are complete, so a lost connection changes nothing.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from ml.mongodb import Database
from ml.reading import Reading
from ml.sources import event_types, events, order_log
from ml.sources.documents import Document, as_texts, fault, field_names, texts_of_types
from ml.sources.raw import RawFile, SourceError, parquet, quoted

Progress = Callable[[str, int, int], None]
"""As in `ml.progress`, which the intake does not import."""

_TABLES = {**order_log.COLUMNS, "events": events.COLUMNS, "event_types": (event_types.COLUMNS, ())}
_GROWING = ("order_lines", "events")
"""Tables that only get new documents. One of them must be there."""
_OVERLAP = timedelta(hours=1)
"""How far the clocks that make ids may differ."""
_BATCH, _ROWS = 10_000, 50_000
_MARK = "restock"


def fetch(database: Database, folder: Path, reading: Reading, progress: Progress) -> None:
    """Fetch the collections into `folder`, as `order_lines.parquet` and so on.

    Of order lines and events, only documents that are newer than those in `folder` are fetched.

    Raises:
        SourceError: a collection or a field is missing, or a value is an array or an object.
        SettingsError: PyMongo is not installed, or the server rejects the user.
        RestockError: no server answers, or the connection is lost.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (
        database.connected() as connection,
        TemporaryDirectory(prefix=".fetching-", dir=folder) as scratch,
    ):
        names = _collections(database, connection.list_collection_names(), reading)
        files = {table: Path(scratch, f"{table}.parquet") for table in _TABLES}
        for table, name in names.items():
            _fetch(connection[name], table, names, reading, folder, files[table], progress)
        if not any(files[table].exists() for table in _GROWING):
            problem = "there are no documents of orders or events"
            raise SourceError(problem, "Check the name of the database", file=str(database))
        for file in files.values():
            if file.exists():
                file.replace(folder / file.name)
            else:
                (folder / file.name).unlink(missing_ok=True)


@contextmanager
def naming_documents(folder: Path) -> Iterator[None]:
    """Turn an error about a fetched file into one about its collection, document and field.

    The files are removed, so that the next fetch sees what the user has corrected.
    """
    try:
        yield
    except SourceError as error:
        named = _about_document(error, folder)
        for table in _TABLES:
            (folder / f"{table}.parquet").unlink(missing_ok=True)
        raise named from None


def _about_document(error: SourceError, folder: Path) -> SourceError:
    path = folder / (error.file or "")
    if not (mark := _mark(path)):
        return error
    document = error.line and RawFile(path.name, path).locate(error.line - 1)[1]["_id"]
    advice = error.advice.replace("Correct the file", "Correct the document")
    advice = re.sub(", or export (it|the file) again", "", advice)
    advice = advice.replace("to the folder", f"to {folder}")
    return fault(mark["collection"], document, error.column, error.problem, advice)


def _collections(database: Database, existing: Sequence[str], reading: Reading) -> dict[str, str]:
    """Return the collection of each table that has one.

    Raises:
        SourceError: a collection that `restock.toml` names is missing, or all of `_GROWING` are.
    """
    own = {name: getattr(reading, name) for name in ("order_lines", "products", "events")}
    names = {table: own.get(table) or table for table in _TABLES}
    found = {table: name for table, name in names.items() if name in existing}
    missing = [name for table, name in own.items() if name and table not in found]
    if not any(table in found for table in _GROWING):
        missing = [names[table] for table in _GROWING]
    if missing:
        raise SourceError(
            f"there is no collection {' or '.join(missing)}; "
            f"found {', '.join(sorted(existing)) or 'no collections'}",
            "Check the name of the database, or name your collections in restock.toml, under "
            '[reading]: order_lines = "the name in your database"',
            file=str(database),
        )
    return found


def _fetch(
    collection: Any,
    table: str,
    tables: Collection[str],
    reading: Reading,
    folder: Path,
    target: Path,
    progress: Progress,
) -> None:
    """Write all documents of a collection to `target`, if there are any."""
    from bson import ObjectId

    required, optional = _TABLES[table]
    if table == "order_lines" and "products" not in tables:
        optional = (*optional, *_TABLES["products"][1])
    reading = reading.of_events if table == "events" else reading
    mappings = [reading.mapping(column) for column in (*required, *optional)]
    fields = list(dict.fromkeys(["_id", *(name for m in mappings for name in m.names)]))

    before, mark = folder / target.name, {"collection": collection.name, "fields": fields}
    last = _mark(before)
    is_same = table in _GROWING and last | mark == last
    since = last["since"] if is_same else ""
    documents = collection.find(
        {"_id": {"$gte": ObjectId(since)}} if since else {},
        dict.fromkeys(fields, 1),
        sort=[("_id", 1)],
        batch_size=_BATCH,
    )
    new = target.with_suffix(".new")
    then = _stream(documents, collection.name, fields, new, progress)
    ids = {name for m in mappings if m.column.endswith("_id") for name in m.names}
    filled = _merge(before, new, since, target, {**mark, "since": then or since}, ids)
    if not filled:
        return
    for mapping in mappings:
        if mapping.column in required and not filled.issuperset(mapping.names):
            first = ", ".join(field_names(collection.find_one() or {}))
            problem = f"no document has this field; the first one has {first}"
            advice = f'In restock.toml, write {mapping.column} = "your field", under '
            advice += f"[{reading.table}]"
            raise fault(collection.name, None, " and ".join(mapping.names), problem, advice)


def _stream(
    documents: Iterator[Document],
    collection: str,
    fields: Sequence[str],
    path: Path,
    progress: Progress,
) -> str:
    """Write documents to a Parquet file of texts.

    Returns:
        The id that the next fetch starts at; empty if it has to start at the first document.
    """
    from bson import ObjectId

    now, texts = datetime.now(UTC), texts_of_types()
    schema = pa.schema([(field, pa.string()) for field in fields])
    rows, are_object_ids, last = 0, True, None
    with pq.ParquetWriter(path, schema) as writer:
        while batch := list(islice(documents, _ROWS)):
            columns = [as_texts(batch, field, texts, collection) for field in fields]
            writer.write_batch(pa.record_batch(columns, schema=schema))
            are_object_ids &= all(type(document["_id"]) is ObjectId for document in batch)
            rows, last = rows + len(batch), batch[-1]["_id"]
            progress(f"fetching {collection}: {rows:,} documents", 0, 1)
    if last is None or not are_object_ids:
        return ""
    # The clock that made the last id may be ahead.
    start = max(min(last.generation_time, now) - _OVERLAP, datetime.fromtimestamp(0, UTC))
    return str(ObjectId.from_datetime(start))


def _merge(
    before: Path, new: Path, since: str, target: Path, mark: dict[str, Any], ids: Collection[str]
) -> set[str]:
    """Write the documents of the last fetch up to `since`, and then the new ones.

    Fields without any value are left out. Ids that are all whole numbers are numbers, as in csv.

    Returns:
        The fields that have a value in any document. Nothing is written if there is no document.
    """
    rows = f"from {parquet(new)}"
    if since:
        files = ", ".join(quoted(file, pattern=True) for file in (before, new))
        rows = (
            f"from read_parquet([{files}], union_by_name = true, filename = '_file', "
            f"hive_partitioning = false) where _file = {quoted(new)} or _id < '{since}'"
        )
    names = {field: '"' + field.replace('"', '""') + '"' for field in mark["fields"]}
    whole = ", ".join(
        f"bool_and(coalesce(try_cast({name} as bigint)::varchar, '') = {name})"
        for name in names.values()
    )
    with duckdb.connect() as con:
        # Without any value, it is NULL whether all values are whole numbers.
        found = con.execute(f"select {whole} {rows}").fetchall()[0]
        filled = {
            f: is_whole for f, is_whole in zip(names, found, strict=True) if is_whole is not None
        }
        if filled:
            columns = ", ".join(
                f"{names[field]}::bigint as {names[field]}"
                if is_whole and field in ids
                else names[field]
                for field, is_whole in filled.items()
            )
            text = json.dumps(mark).replace("'", "''")
            con.execute(
                f"copy (select {columns} {rows}) to {quoted(target)} "
                f"(format parquet, kv_metadata {{{_MARK}: '{text}'}})"
            )
    return set(filled)


def _mark(path: Path) -> dict[str, Any]:
    """Return what a fetched file has: its collection, the fields, and where the next one starts."""
    try:
        return json.loads(pq.read_metadata(path).metadata[_MARK.encode()])
    except (OSError, pa.ArrowInvalid, KeyError, TypeError):
        return {}
