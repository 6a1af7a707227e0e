"""Unpack archives, compressed files and workbooks to plain files."""

from __future__ import annotations

import bz2
import csv
import gzip
import lzma
import shutil
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import date, datetime, time, timedelta
from pathlib import Path, PurePosixPath
from typing import IO, Any

from ml.sources.raw import SourceError

ARCHIVES = (".zip", ".tar")


def _open_zstd(path: Path) -> Any:
    import pyarrow as pa

    return pa.CompressedInputStream(pa.OSFile(str(path)), "zstd")


COMPRESSED: dict[str, Callable[[Path], Any]] = {
    ".gz": gzip.open,
    ".bz2": bz2.open,
    ".xz": lzma.open,
    ".zst": _open_zstd,
}
WORKBOOK = ".xlsx"
# Short names for a compressed tar archive.
_SHORT = {".tgz": ".tar.gz", ".tbz": ".tar.bz2", ".tbz2": ".tar.bz2", ".txz": ".tar.xz"}
_BLOCK = 1 << 20
_DAMAGE = (
    zipfile.BadZipFile,
    tarfile.TarError,
    gzip.BadGzipFile,
    lzma.LZMAError,
    zlib.error,
    EOFError,
    NotImplementedError,  # a compression that Python does not support
    RuntimeError,  # an encrypted archive
)


class ArchiveError(SourceError):
    """An archive is damaged, truncated or encrypted."""


@dataclass(frozen=True)
class Packed:
    """A file that may be packed.

    Attributes:
        name: the file as the user knows it, such as `kaggle.zip/orders.csv`.
        inner: its path in the folder or the archive, which tells what it is.
        path: its place on disk.
    """

    name: str
    inner: PurePosixPath
    path: Path


def long_name(name: str) -> str:
    """Return a file name in lower case, with `.tgz` written as `.tar.gz`."""
    name = name.lower()
    for short, long in _SHORT.items():
        name = name.removesuffix(short) + long if name.endswith(short) else name
    return name


def bare_name(name: str) -> str:
    """Return a file name in lower case, without the suffixes of packings: `orders.csv`."""
    name = long_name(name)
    while (suffix := PurePosixPath(name).suffix) in (*COMPRESSED, *ARCHIVES):
        name = name.removesuffix(suffix)
    return name


def is_archive(name: str) -> bool:
    """Return whether a file is an archive of files, compressed or not."""
    name = long_name(name)
    for suffix in COMPRESSED:
        name = name.removesuffix(suffix)
    return name.endswith(ARCHIVES)


def unpack(
    packed: Packed, wanted: Callable[[PurePosixPath], bool], scratch: Path
) -> Iterator[Packed]:
    """Yield the plain files in a packed file, unpacked below `scratch`.

    Archives and compressed files carry checksums. Python verifies them and DuckDB does not.

    Args:
        packed: a plain file, a compressed file, a workbook or an archive.
        wanted: whether to unpack an archive's file, by its path in the archive.
        scratch: where to write.

    Raises:
        ArchiveError: the file is damaged, truncated or encrypted.
    """
    suffix = PurePosixPath(long_name(packed.path.name)).suffix
    target = Path(tempfile.mkdtemp(dir=scratch))
    try:
        if suffix in COMPRESSED:
            stem = long_name(packed.path.name).removesuffix(suffix)
            plain = target / stem
            with COMPRESSED[suffix](packed.path) as source, plain.open("wb") as sink:
                shutil.copyfileobj(source, sink, _BLOCK)
            inner = packed.inner.with_name(stem)
            yield from unpack(replace(packed, inner=inner, path=plain), wanted, scratch)
        elif suffix in ARCHIVES:
            members = _zip_members if suffix == ".zip" else _tar_members
            for number, (name, source) in enumerate(members(packed.path, wanted)):
                inner = PurePosixPath(name)
                plain = target / str(number) / inner.name
                plain.parent.mkdir()
                with source, plain.open("wb") as sink:
                    shutil.copyfileobj(source, sink, _BLOCK)
                member = Packed(f"{packed.name}/{name}", inner, plain)
                yield from unpack(member, wanted, scratch)
        elif suffix == WORKBOOK:
            plain = target / f"{packed.path.stem}.csv"
            _write_first_sheet(packed, plain)
            yield replace(packed, path=plain)
        else:
            yield packed
    except (*_DAMAGE, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise  # The disk is at fault, not the archive.
        problem = f"the archive cannot be unpacked ({error})"
        raise ArchiveError(problem, "Download it or create it again", file=packed.name) from error


def _zip_members(
    path: Path, wanted: Callable[[PurePosixPath], bool]
) -> Iterator[tuple[str, IO[bytes]]]:
    with zipfile.ZipFile(path) as archive:
        members = archive.infolist()
        if min((member.header_offset for member in members), default=0) > 0:
            # A truncated archive can end with the directory of a zip nested in it.
            raise zipfile.BadZipFile("its first entry is not at the start of the file")
        for member in members:
            if not member.is_dir() and wanted(PurePosixPath(member.filename)):
                yield member.filename, archive.open(member)


def _tar_members(
    path: Path, wanted: Callable[[PurePosixPath], bool]
) -> Iterator[tuple[str, IO[bytes]]]:
    with path.open("rb") as file:
        file.seek(max(path.stat().st_size - 512, 0))
        if file.read().strip(b"\0"):
            raise tarfile.ReadError("its end is missing")
    with tarfile.open(path, "r:") as archive:
        for member in archive:
            if member.isfile() and wanted(PurePosixPath(member.name)):
                source = archive.extractfile(member)
                assert source is not None  # only links and folders have none
                yield member.name, source


def _write_first_sheet(packed: Packed, path: Path) -> None:
    """Write the first sheet of a workbook as csv, a line per row."""
    try:
        from python_calamine import CalamineError, CalamineWorkbook
    except ImportError:
        raise SourceError(
            "reading a workbook needs the package python-calamine",
            "Run `pip install 'restock[xlsx]'`, or save the sheet as csv",
            file=packed.name,
        ) from None
    try:
        sheet = CalamineWorkbook.from_path(str(packed.path)).get_sheet_by_index(0)
        rows = sheet.to_python(skip_empty_area=False)
    except (CalamineError, IndexError) as error:
        raise ArchiveError(
            f"the workbook cannot be unpacked ({error})", "Save it again", file=packed.name
        ) from error
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        for row in rows:
            texts = [_cell_text(value) for value in row]
            # A row without values is a blank line, so that the lines keep their numbers.
            writer.writerow(texts if any(texts) else [])


def _cell_text(value: Any) -> str:
    if isinstance(value, float) and value.is_integer():
        # Excel keeps 15 digits. A longer id has lost its last ones: write it so that it is refused.
        return f"{value:.0f}" if abs(value) < 10**15 else f"{value:.14E}"
    if isinstance(value, datetime):
        rounded = value + timedelta(milliseconds=500 if value.microsecond % 1000 else 0)
        return rounded.replace(microsecond=0).isoformat(" ")
    if isinstance(value, date | time):
        return value.isoformat()
    return str(value)
