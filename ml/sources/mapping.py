"""Find the columns of a raw file, by the names in `restock.toml` or by Restock's own."""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Sequence
from dataclasses import replace

from ml.reading import Mapping, Reading
from ml.sources.raw import RawFile, SourceError

# Words in the headers of other programs, the best first, and words that make it another column.
_ID_WORDS = ("id", "no", "number", "nr", "num", "key", "code", "ref", "user")
_TIME_WORDS = ("date", "time", "datetime", "timestamp", "created", "at", "dt", "day")
_OTHER = (
    *("name", "description", "desc", "title", "type", "status", "state", "city", "country", "zip"),
    *("price", "amount", "total", "quantity", "qty", "value", "cost", "tax", "discount", "count"),
    *("method", "category", "group", "notes", "currency", "phone", "address", "unit", "size"),
)
_WORDS = {
    "user_id": (
        *("customer", "shopper", "user", "client", "member", "household", "email", "buyer"),
        *("account", "loyalty", "card", "consumer", "guest", "visitor", "visitorid", "userid"),
    ),
    "order_id": (
        *("order", "invoice", "basket", "transaction", "receipt", "ticket", "bill", "sale"),
        *("purchase", "visit"),
    ),
    "product_id": (
        *("product", "sku", "item", "article", "stock", "ean", "upc", "barcode", "gtin", "plu"),
        *("asin", "material"),
    ),
    "ordered_at": ("ordered", "order", "invoice", "transaction", "purchase", "created", "sale"),
    "occurred_at": ("occurred", "event", "original", "derived", "client"),
    "session_id": ("session", "visit"),
}
_TIMES = ("ordered_at", "occurred_at")
# Headers that tell what kind an event is of.
_EVENT_TYPES = (
    *("event", "event name", "event type", "event action", "action", "behavior type", "behavior"),
    *("behaviour", "behaviour type", "type"),
)
_SIMILAR = 0.8
_MISSPELT = 0.9


def locate_columns(
    file: RawFile,
    required: Sequence[str],
    optional: Collection[str] = (),
    more: Collection[str] = (),
    *,
    reading: Reading | None = None,
) -> RawFile:
    """Return the file with the origin of each column.

    With `reading`, names match whatever their case. A required column must be there once, and so
    must a column that `reading` maps. An optional column may be missing, but not misspelt. The
    columns in `more` may be missing.

    Raises:
        SourceError: columns are missing or repeated; the message names all of them.
    """
    origins: dict[str, tuple[str, ...]] = {}
    missing: dict[str, str] = {}
    for column in (*required, *optional, *more):
        mapping = reading.mapping(column) if reading else Mapping(column, (column,))
        is_mapped = reading is not None and mapping in reading.columns
        names = [_find(file, name, exact=reading is None) for name in mapping.names]
        if all(names):
            origins[column] = tuple(filter(None, names))
        elif column in required or is_mapped:
            absent = (n for n, found in zip(mapping.names, names, strict=True) if not found)
            missing[column] = next(absent)
    taken = {name for names in origins.values() for name in names}
    free = [name for name in file.header if name not in taken]
    for column in optional:
        near = difflib.get_close_matches(column, map(folded, free), 1, _MISSPELT)
        if column not in origins and column not in missing and near:
            missing[column] = column
    if missing:
        table = reading.table if reading else None
        raise _missing(file, missing, free, required, mapped_in=table)
    return replace(file, origins=origins)


def _find(file: RawFile, name: str, *, exact: bool) -> str | None:
    """Return a column's name as the file writes it, or None."""
    same = [n for n in file.header if n == name]
    if not same and not exact:
        same = [n for n in file.header if _trimmed(n) == _trimmed(name)]
    if len(same) > 1:
        problem = "the column is repeated"
        raise SourceError(problem, "Rename or remove one of them", file=file.name, column=name)
    return same[0] if same else None


def _missing(
    file: RawFile,
    missing: dict[str, str],
    free: Sequence[str],
    required: Sequence[str],
    *,
    mapped_in: str | None,
) -> SourceError:
    """Return an error that names all missing columns, each with the likeliest header."""
    first = next(iter(missing))
    found = ", ".join(map(repr, file.header))[:300]
    if len(missing) == 1:
        problem = f"the column is missing; found {found}"
    else:
        names = [
            name if name == column else f"{name} ({column})" for column, name in missing.items()
        ]
        problem = f"the columns {', '.join(names)} are missing; found {found}"
    column = missing[first] if missing[first] == first else f"{missing[first]} ({first})"
    advice = _advice(file, missing, free, required, mapped_in=mapped_in)
    place = column if len(missing) == 1 else None
    error = SourceError(problem, advice, file=file.name, column=place)
    error.column = column
    return error


def _advice(
    file: RawFile,
    missing: dict[str, str],
    free: Sequence[str],
    required: Sequence[str],
    *,
    mapped_in: str | None,
) -> str:
    separator = re.search(r"[;\t|,]", file.header[0]) if len(file.header) == 1 else None
    if separator:
        setting = separator[0].replace("\t", r"\t")
        mapped = f', or set delimiter = "{setting}" under [reading] in restock.toml'
        return "Separate the values with commas" + (mapped if mapped_in else "")
    offers = _offers(missing, free)
    if not offers and len(missing) == len(required) and all(n == c for c, n in missing.items()):
        return f"Add a header as the first line: {', '.join(required)}"
    renamed = [f"{header!r} to {missing[column]!r}" for column, header in offers.items()]
    added = [repr(name) for column, name in missing.items() if column not in offers]
    advice = [f"Rename {', '.join(renamed)}"] if renamed else []
    if added:
        advice.append(f"Add {'a column' if len(added) == 1 else 'columns'} {', '.join(added)}")
    if mapped_in:
        entries = [f'{column} = "{header}"' for column, header in offers.items()] or [
            f'{next(iter(missing))} = "the name in your file"'
        ]
        advice.append(f"Or write in restock.toml, under [{mapped_in}]: {', '.join(entries)}")
    return ". ".join(advice)


def _offers(missing: dict[str, str], free: Sequence[str]) -> dict[str, str]:
    """Return the likeliest header for each missing column; no header twice, and none unlike it."""
    scores = sorted(
        (
            (-_likeness(column, name, header), at, column, header)
            for column, name in missing.items()
            for at, header in enumerate(free)
        ),
    )
    offers: dict[str, str] = {}
    for score, _, column, header in scores:
        if score < 0 and column not in offers and header not in offers.values():
            offers[column] = header
    return {column: offers[column] for column in missing if column in offers}


def _likeness(column: str, name: str, header: str) -> float:
    """Return how likely a header means a column: 0 for unlike."""
    words = _words(header)
    if column == "event_type" and any(word in _TIME_WORDS for word in words):
        return 0
    ratio = difflib.SequenceMatcher(None, folded(name), folded(header)).ratio()
    if ratio >= _SIMILAR:
        return 10 + ratio
    if name == column == "event_type" and " ".join(words) in _EVENT_TYPES:
        return 3 - _EVENT_TYPES.index(" ".join(words)) / 100
    if name != column or column not in _WORDS:
        return 0
    if any(word in _OTHER for word in words):
        return 0
    is_time = any(word in _TIME_WORDS for word in words)
    if is_time != (column in _TIMES):
        return 0
    entities = [_WORDS[column].index(word) for word in words if word in _WORDS[column]]
    if is_time:
        first = min(_TIME_WORDS.index(word) for word in words if word in _TIME_WORDS)
        return 1 + bool(entities) + (0.5 - first / 100)
    if not entities:
        return 0
    return 2 + any(word in _ID_WORDS for word in words) - min(entities) / 100


def folded(name: str) -> str:
    """Return the words of a name in lower case, with `_` between them."""
    return "_".join(_words(name))


def _words(header: str) -> list[str]:
    """Return the words of a header such as `Order ID`, `order_id` or `OrderID`, in lower case."""
    apart = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", header)
    return re.findall(r"[^\W_]+", apart.casefold())


def require_same_columns(file: RawFile, first: RawFile) -> None:
    """Raise a SourceError unless two parts of a table have the same columns, in any order."""
    (extra, lacking) = (
        sorted(set(map(_trimmed, one.header)) - set(map(_trimmed, other.header)))
        for one, other in ((file, first), (first, file))
    )
    if extra or lacking:
        differences = [
            f"{word} {', '.join(map(repr, names))}"
            for word, names in (("has also", extra), ("lacks", lacking))
            if names
        ]
        problem = (
            f"the columns differ from those of {first.name}: this file {' and '.join(differences)}"
        )
        raise SourceError(problem, "Export all parts with the same columns", file=file.name)


def _trimmed(name: str) -> str:
    return name.strip().casefold()
