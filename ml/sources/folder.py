"""Find the raw files in a folder, and unpack archives."""

from __future__ import annotations

import gzip
import shutil
import tempfile
import zipfile
import zlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path, PurePosixPath

from ml.sources.raw import RawFile, SourceError

_BLOCK = 1 << 20


def candidates(folder: Path, files: Mapping[str, Sequence[str]]) -> list[Path]:
    """Return the files of a folder that have an expected name, and every zip archive.

    Args:
        folder: where to look, without its subfolders.
        files: the names that each raw file may have.

    Raises:
        SourceError: the folder does not exist or has no such file, or one of them is a folder.
    """
    expected = ", ".join(" or ".join(names) for names in files.values())
    advice = f"Put these files there (plain, .gz or .zip): {expected}"
    if not folder.is_dir():
        raise SourceError("the folder does not exist", advice, file=str(folder))
    wanted = {name + packing for name in chain(*files.values()) for packing in ("", ".gz")}
    found = sorted(p for p in folder.iterdir() if p.name in wanted or p.suffix == ".zip")
    if not found:
        raise SourceError("the folder has no raw files", advice, file=str(folder))
    for path in found:
        if not path.is_file():
            raise SourceError("this is not a file", "Replace it with a single file", file=path.name)
    return found


def gather(
    paths: Sequence[Path],
    files: Mapping[str, Sequence[str]],
    optional: Collection[str],
    scratch: Path,
) -> dict[str, RawFile]:
    """Return the raw files among these paths, with archives unpacked below `scratch`.

    gzip and zip archives carry checksums. Python verifies them and DuckDB does not, so a damaged
    or truncated archive is rejected here.

    Raises:
        SourceError: an archive is damaged, truncated or encrypted; a file is missing, or there are
            two copies of it.
    """
    names = frozenset(chain(*files.values()))
    found: dict[str, RawFile] = {}
    for path in paths:
        for file in _unpack(RawFile(path.name, path), names, scratch):
            stem = file.path.stem
            if stem in found:
                problem = f"there are two {stem} files, {found[stem].name} and {file.name}"
                raise SourceError(problem, "Keep one of them", file=file.name)
            found[stem] = file
    for stem, alternatives in files.items():
        if stem not in found and stem not in optional:
            expected = " or ".join(alternatives)
            advice = f"Add {expected} (plain, .gz or .zip) to {paths[0].parent}"
            raise SourceError("the file is missing", advice, file=expected)
    return {stem: found[stem] for stem in files if stem in found}


def _unpack(packed: RawFile, names: frozenset[str], scratch: Path) -> Iterator[RawFile]:
    if packed.path.suffix not in (".gz", ".zip"):
        yield packed
        return
    inside = names.union(*({f"{n}.gz", f"{n}.zip", f"{Path(n).stem}.zip"} for n in names))
    target = Path(tempfile.mkdtemp(dir=scratch))
    try:
        if packed.path.suffix == ".gz":
            plain = target / packed.path.stem
            with gzip.open(packed.path) as source, plain.open("wb") as sink:
                shutil.copyfileobj(source, sink, _BLOCK)
            yield RawFile(packed.name, plain)
            return
        with zipfile.ZipFile(packed.path) as archive:
            members = archive.infolist()
            if min((member.header_offset for member in members), default=0) > 0:
                # A truncated archive can end with the directory of a zip nested in it.
                raise zipfile.BadZipFile("its first entry is not at the start of the file")
            for number, member in enumerate(members):
                base = PurePosixPath(member.filename).name
                if base not in inside:
                    continue
                plain = target / str(number) / base
                plain.parent.mkdir()
                with archive.open(member) as source, plain.open("wb") as sink:
                    shutil.copyfileobj(source, sink, _BLOCK)
                name = f"{packed.name}/{member.filename}"
                yield from _unpack(RawFile(name, plain), names, scratch)
    except (
        zipfile.BadZipFile,
        gzip.BadGzipFile,
        zlib.error,
        EOFError,
        NotImplementedError,  # a compression that Python does not support
        RuntimeError,  # an encrypted archive
    ) as error:
        problem = f"the archive cannot be unpacked ({error})"
        advice = "Download it or create it again"
        raise SourceError(problem, advice, file=packed.name) from error
