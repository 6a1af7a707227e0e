"""Find out which source the files of a folder belong to."""

from __future__ import annotations

import re
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path, PurePosixPath

from ml.errors import SettingsError
from ml.settings import Settings
from ml.sources.raw import SourceError

# The file that only this source has, whatever its case, packing, or number of parts.
_SIGNS = {"instacart": r"order_products__", "order_log": r"order_lines(?![a-z0-9])"}
# An order log may have events alone. Beside other files, they say nothing of the source.
_EVENTS = r"events(?![a-z0-9])"


def with_source(settings: Settings) -> Settings:
    """Return the settings with the source of the files in ``raw_dir``, unless they name one.

    Raises:
        SettingsError: the folder has files of two sources.
        SourceError: the folder does not exist, or has files of no known source.
    """
    if settings.source:
        return settings
    # Files with names of the user's own are order lines or events.
    reading = settings.reading
    is_named = reading.order_lines or reading.events
    source = "order_log" if is_named else _detect(settings.raw_dir)
    return replace(settings, source=source)


def _detect(folder: Path) -> str:
    if not folder.is_dir():
        advice = "Check --raw-dir (RESTOCK_RAW_DIR)"
        raise SourceError("the folder does not exist", advice, file=str(folder))
    signs: dict[str, str] = {}
    names = list(_names(folder))
    for name in names:
        for source, sign in _SIGNS.items():
            if re.match(sign, name.casefold()):
                signs.setdefault(source, name)
    if len(signs) > 1:
        both = " and ".join(f"{name} ({source})" for source, name in signs.items())
        raise SettingsError(
            f"{folder} has files of two sources: {both}. Choose one with --source (RESTOCK_SOURCE)."
        )
    if not signs and any(re.match(_EVENTS, name.casefold()) for name in names):
        return "order_log"
    if not signs:
        found = ", ".join(sorted(path.name for path in folder.iterdir())[:10]) or "nothing"
        raise SourceError(
            f"the folder has no file that shows its source; it has {found}",
            "Put your orders there as order_lines.csv or order_lines.parquet, your events as "
            "events.csv or events.parquet, or Instacart's "
            "orders.csv and order_products__*.csv. For the demo data, leave out --raw-dir "
            "(RESTOCK_RAW_DIR)",
            file=str(folder),
        )
    return next(iter(signs))


def _names(folder: Path) -> Iterator[str]:
    """Yield the names of files in a folder, in its subfolders and in its archives."""
    for path in sorted(folder.iterdir()):
        yield path.name
        if path.is_dir():
            yield from (inner.name for inner in path.iterdir())
        # The reader of the source tells what is wrong with an archive.
        with suppress(OSError, EOFError, zipfile.BadZipFile, tarfile.TarError, zlib.error):
            if path.name.casefold().endswith(".zip"):
                with zipfile.ZipFile(path) as archive:
                    yield from (PurePosixPath(name).name for name in archive.namelist())
            elif re.search(r"\.(tar(\.[a-z0-9]+)?|tgz)$", path.name.casefold()):
                with tarfile.open(path) as tar:
                    yield from (PurePosixPath(member.name).name for member in tar)
