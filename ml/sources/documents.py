"""Write the values of MongoDB documents as text, as a file with Restock's notation has them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from ml.sources.raw import SourceError

Document = dict[str, Any]
Texts = Mapping[type, Callable[[Any], str | None]]


def fault(
    collection: str, document: object, field: str | None, problem: str, advice: str
) -> SourceError:
    """Return an error about a collection, and a document and a field of it if they are known."""
    document, field = document and f"_id {document}", field and f"field {field}"
    place = ", ".join(str(part) for part in (f"collection {collection}", document, field) if part)
    return SourceError(problem, advice, file=place)


def texts_of_types() -> Texts:
    """Return how to write a value of each type that Restock reads."""
    from bson import Decimal128, Int64, ObjectId
    from bson.datetime_ms import DatetimeMS

    return {
        type(None): lambda value: None,
        str: lambda value: value or None,
        bool: lambda value: str(value).lower(),
        **dict.fromkeys((int, Int64, ObjectId, UUID), str),
        float: _number,
        Decimal128: lambda value: format(value.to_decimal(), "f"),
        datetime: lambda value: f"{value.isoformat()}Z",
        DatetimeMS: lambda value: str(int(value)),
    }


def _number(value: float) -> str:
    # JavaScript's numbers are floats. From 2^53 on, they are not exact.
    return str(int(value)) if value.is_integer() and abs(value) < 2**53 else repr(value)


def as_texts(
    documents: Sequence[Document], field: str, texts: Texts, collection: str
) -> list[str | None]:
    """Return the values of a field, such as `user.id`, as texts; a missing value is None.

    Raises:
        SourceError: a value is an array, an object, or of a type that no column has.
    """
    if field == "_id":
        return [str(document["_id"]) for document in documents]
    column = []
    for document in documents:
        value = _value(document, field.split("."))
        text = texts.get(type(value))
        if text is None:
            raise fault(collection, document["_id"], field, *_unsupported(value, field))
        column.append(text(value))
    return column


def _value(document: Document, names: Sequence[str]) -> Any:
    """Return the value at the end of a path, or the first array on it."""
    value: Any = document
    for name in names:
        if not isinstance(value, dict):
            return value if isinstance(value, list) else None
        value = value.get(name)
    return value


def _unsupported(value: Any, field: str) -> tuple[str, str]:
    if isinstance(value, list):
        return (
            "the value is an array",
            "Map a field with one value for each document, or fetch a view that unwinds the array",
        )
    if isinstance(value, dict):
        names = ", ".join(f'"{name}"' for name in field_names(value, f"{field}."))
        return "the value is an object", f"Map one of its fields in restock.toml: {names}"
    return f"the type {type(value).__name__} is not supported", "Store it as text or as a number"


def field_names(document: Document, prefix: str = "") -> Iterator[str]:
    """Yield the names of the fields of a document; the field of an object is such as `user.id`."""
    for name, value in document.items():
        if isinstance(value, dict):
            yield from field_names(value, f"{prefix}{name}.")
        else:
            yield prefix + name
