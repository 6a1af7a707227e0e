"""A folder of raw files as a user keeps it: find the files, and unpack what is packed."""

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
    """Files of a folder that may hold raw files: those with these names, and every zip archive.

    Args:
        folder: where to look; not in folders below it.
        files: the names that each raw file may have.

    Raises:
        SourceError: the folder is missing, or holds none of them, or not as a file.
    """
    expected = ", ".join(" or ".join(names) for names in files.values())
    advice = f"Put there {expected} (plain, .gz or .zip)"
    if not folder.is_dir():
        raise SourceError("there is no such folder", advice, file=str(folder))
    wanted = {name + packing for name in chain(*files.values()) for packing in ("", ".gz")}
    found = sorted(p for p in folder.iterdir() if p.name in wanted or p.suffix == ".zip")
    if not found:
        raise SourceError("the folder has no raw files", advice, file=str(folder))
    for path in found:
        if not path.is_file():
            raise SourceError("this is no file", "Put one file in its place", file=path.name)
    return found


def gather(
    paths: Sequence[Path],
    files: Mapping[str, Sequence[str]],
    optional: Collection[str],
    scratch: Path,
) -> dict[str, RawFile]:
    """Return the raw files among these paths, those in .gz and .zip unpacked below `scratch`.

    gzip and zip carry checksums, which Python verifies and DuckDB does not: what was cut or
    damaged in an archive ends here.

    Raises:
        SourceError: an archive is damaged, cut or encrypted; a file is missing or there twice.
    """
    names = frozenset(chain(*files.values()))
    found: dict[str, RawFile] = {}
    for path in paths:
        for file in _unpack(RawFile(path.name, path), names, scratch):
            stem = file.path.stem
            if stem in found:
                problem = f"{found[stem].name} and {file.name} are both {stem}"
                raise SourceError(problem, "Keep one of them", file=file.name)
            found[stem] = file
    for stem, alternatives in files.items():
        if stem not in found and stem not in optional:
            expected = " or ".join(alternatives)
            advice = f"Put {expected} (plain, .gz or .zip) into {paths[0].parent}"
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
                # The end of a cut archive can look like the end of an archive that was in it.
                raise zipfile.BadZipFile("it does not start where it should")
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
        NotImplementedError,  # a zip that is compressed in a way Python does not know
        RuntimeError,  # a zip that is encrypted
    ) as error:
        advice = "Download or pack it again"
        raise SourceError(f"cannot be unpacked ({error})", advice, file=packed.name) from error
