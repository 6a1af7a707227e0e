"""The release that is published now, and queries of its tables."""

from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from ml.errors import RestockError
from ml.serving.index import Batch, Index
from ml.serving.published import Published
from ml.settings import Settings
from ml.warehouse import connection

Row = dict[str, Any]
of_settings = lru_cache(maxsize=1)(Published)
"""The published releases of a workspace, which all visitors share."""


@dataclass(frozen=True)
class Current:
    """What a page is about: the published release when the page was asked for.

    Attributes:
        published: where its live scores come from.
        index: its index.
        settings: the settings with its warehouse.
    """

    published: Published
    index: Index
    settings: Settings

    @property
    def batch(self) -> Batch:
        """The batch of the scores."""
        batch = self.index.batches["reorder"]
        assert batch  # every release has reorder scores
        return batch

    def query(self, sql: str, *values: Any) -> list[Row]:
        """Return the rows of a query. The warehouse is open no longer, so it keeps no step out."""
        with connection.connect(self.settings, read_only=True) as con:
            found = con.execute(sql, values)
            names = [column[0] for column in found.description]
            return [dict(zip(names, row, strict=True)) for row in found.fetchall()]

    def is_outdated(self) -> bool:
        """Look whether another release is published by now."""
        _look(self.published)
        return self.published.index is not self.index


def current(settings: Settings) -> Current:
    """Return the published release.

    Raises:
        RestockError: there is none with an index.
    """
    published = of_settings(settings)
    _look(published)
    index = published.index
    if index is None:
        raise RestockError("No release with an index is published yet. Run `restock run`.")
    return Current(published, index, published.settings_of(index))


def _look(published: Published) -> None:
    # A run may remove the release that it finds: then the next look finds another.
    with suppress(OSError, ValueError):
        published.look()
