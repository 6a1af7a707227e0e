"""Find the raw files in a folder and in archives."""

from __future__ import annotations

import filecmp
import os
import re
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath

from ml.sources.packings import ArchiveError, Packed, bare_name, is_archive, unpack
from ml.sources.raw import RawFile, SourceError

_DEPTH = 3
"""Folders within the raw folder that are searched, such as the one that unzipping makes."""
_DATA = (".csv", ".parquet", ".xlsx")
_OF_SHOPPERS = r"(users|customers|shoppers)[^a-z].*"
"""Names of files with attributes of shoppers."""
_PACKINGS = "plain, .gz, .bz2, .xz, .zst, .zip or .tar"


@dataclass(frozen=True)
class Wanted:
    """The raw files of a source.

    Attributes:
        files: the names that each raw file may have, in lower case; a `*` stands for any text.
        optional: the raw files that may be missing.
        instead: for a raw file that may be missing, the one that must then be there.
    """

    files: Mapping[str, Sequence[str]]
    optional: Collection[str] = ()
    instead: Mapping[str, str] = field(default_factory=dict)

    def stem(self, path: PurePosixPath) -> str | None:
        """Return which raw file a path is or is a part of, such as `orders`; or None.

        A folder named like a raw file contains its parts, as Spark writes them.
        """
        if any(part.startswith((".", "__MACOSX")) for part in path.parts):
            return None
        if stem := self.named(path.name):
            return stem
        if path.name.startswith("_") or not bare_name(path.name).endswith(_DATA):
            return None
        return next(filter(None, map(self.folder, path.parts[:-1])), None)

    def level(self, path: PurePosixPath) -> int:
        """Return how deep a raw file is, not counting the folders that its parts are in."""
        parts = enumerate(path.parts[:-1])
        return next((n for n, part in parts if self.folder(part)), len(path.parts) - 1)

    def expected(self, stem: str) -> str:
        """Return the names of a raw file, for an error message."""
        names = self.files[stem]
        return " or ".join([name for name in names if "*" not in name] or names)

    def named(self, name: str) -> str | None:
        """Return which raw file a file is by its name alone."""
        bare = bare_name(name)
        # An archive may lack the suffix of the file in it: orders.zip.
        return self._match(bare) or (self.folder(bare) if bare != name.lower() else None)

    def folder(self, name: str) -> str | None:
        """Return which raw file a folder contains the parts of by its name alone."""
        name = name.lower()
        return self._match(name) or self._match(name, without_suffix=True)

    def _match(self, name: str, *, without_suffix: bool = False) -> str | None:
        for stem, patterns in self.files.items():
            for pattern in patterns:
                pattern = pattern.rpartition(".")[0] if without_suffix else pattern
                if fnmatchcase(name, pattern):
                    return stem
        return None


def candidates(folder: Path, wanted: Wanted) -> list[Path]:
    """Return the raw files in a folder, and the archives that may contain some.

    If the folder has none, this looks into the folders within it.

    Raises:
        SourceError: the folder does not exist or has no such file, or a raw file is an empty or
            unfinished folder.
    """
    expected = ", ".join(map(wanted.expected, wanted.files))
    advice = f"Put these files there ({_PACKINGS}): {expected}"
    if not folder.is_dir():
        raise SourceError("the folder does not exist", advice, file=str(folder))
    inner = {path: PurePosixPath(path.relative_to(folder).as_posix()) for path in _files(folder)}
    named = {path: wanted.level(at) for path, at in inner.items() if wanted.stem(at)}
    archives = {
        path: len(at.parts) - 1
        for path, at in inner.items()
        if path not in named and is_archive(path.name)
    }
    _reject_folders_without_data(folder, wanted, [inner[path] for path in named])
    if not named and not archives:
        found = _listed(sorted(str(at) for at in inner.values()))
        problem = "the folder has no raw files" + (f"; found {found}" if found else "")
        raise SourceError(problem, advice, file=str(folder))
    nearest = min((named or archives).values())
    return sorted(
        [path for path, level in named.items() if level == nearest]
        + [path for path, level in archives.items() if level <= nearest]
    )


def _files(folder: Path) -> Iterator[Path]:
    for at, folders, names in os.walk(folder):
        depth = len(Path(at).relative_to(folder).parts)
        is_deep = depth == _DEPTH
        folders[:] = [] if is_deep else [name for name in folders if not _is_skipped(name)]
        yield from (Path(at, name) for name in names if not name.startswith("."))


def _is_skipped(folder: str) -> bool:
    """Return whether a folder has no raw files: hidden, of macOS, or of Restock itself."""
    return folder.startswith((".", "__MACOSX")) or ".landing" in folder


def tell_attributes(folder: Path, notes: list[str]) -> None:
    """Add a note for each file in a folder that has attributes of shoppers."""
    notes += [
        f"{path.name} is not read: what a shopper is like now, such as the last login, says what "
        "came after the moments that a model learns from."
        for path in sorted(folder.iterdir())
        if re.fullmatch(_OF_SHOPPERS, path.name.lower()) and bare_name(path.name).endswith(_DATA)
    ]


def _reject_folders_without_data(
    folder: Path, wanted: Wanted, found: Sequence[PurePosixPath]
) -> None:
    for path in sorted(folder.iterdir()):
        if not path.is_dir() or not wanted.folder(path.name):
            continue
        if (path / "_temporary").exists():
            problem = "Spark has not finished writing this folder: it has a folder _temporary"
            raise SourceError(problem, "Wait for the job, or write it again", file=path.name)
        is_a_file_name = path.name.lower().endswith(_DATA)
        if is_a_file_name and not any(at.parts[0] == path.name for at in found):
            problem = "this is not a file, and the folder has no csv or Parquet files"
            raise SourceError(problem, "Replace it with a single file", file=path.name)


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - 8:,} more" if len(names) > 8 else ""
    return ", ".join(names[:8]) + more


def gather(
    folder: Path,
    paths: Sequence[Path],
    wanted: Wanted,
    scratch: Path,
    notes: list[str],
) -> dict[str, list[RawFile]]:
    """Return the parts of each raw file among these paths, with archives unpacked below `scratch`.

    A damaged archive is left out with a note if the raw files are there without it.

    Raises:
        SourceError: an archive is damaged, truncated or encrypted; a file is missing, or there are
            two copies of it.
    """
    found: dict[str, list[tuple[PurePosixPath, RawFile]]] = defaultdict(list)
    damaged: list[ArchiveError] = []
    seen: list[str] = []
    for path in paths:
        name = path.relative_to(folder).as_posix()
        packed = Packed(name, PurePosixPath(name), path)
        is_wanted = wanted.stem(packed.inner) is not None

        def is_data(at: PurePosixPath) -> bool:
            seen.append(f"{name}/{at}")  # noqa: B023
            return wanted.stem(at) is not None

        try:
            files = list(unpack(packed, is_data, scratch))
        except ArchiveError as error:
            if is_wanted:
                raise
            damaged.append(error)
            continue
        for file in files:
            if stem := wanted.stem(file.inner):
                stat = path.stat()
                stamp = stat.st_size, stat.st_mtime_ns
                found[stem].append((file.inner, RawFile(file.name, file.path, stamp=stamp)))
    for stem in wanted.files:
        is_needed = stem not in wanted.optional and wanted.instead.get(stem) not in found
        if stem not in found and is_needed:
            if damaged:
                raise damaged[0]
            names = [path.relative_to(folder).as_posix() for path in _files(folder)]
            problem = f"the file is missing; found {_listed(sorted([*names, *seen]))}"
            advice = f"Add {wanted.expected(stem)} ({_PACKINGS}) to {folder}"
            raise SourceError(problem, advice, file=wanted.expected(stem))
    notes += [f"Left out: {str(error).removesuffix('.')}." for error in damaged]
    return {stem: _parts(stem, found[stem], wanted) for stem in wanted.files if stem in found}


def _parts(stem: str, found: list[tuple[PurePosixPath, RawFile]], wanted: Wanted) -> list[RawFile]:
    """Return the parts of a raw file in order of their names.

    Raises:
        SourceError: two files are copies of each other.
    """
    found.sort(key=lambda item: str(item[0]))
    whole = [file for at, file in found if _is_whole(stem, at, wanted)]
    files = [file for _, file in found]
    advice = "Keep one of them"
    if whole and len(files) > 1:
        other = next(file for file in files if file is not whole[0])
        problem = f"there are two {stem} files, {whole[0].name} and {other.name}"
        raise SourceError(problem, advice, file=other.name)
    sizes: dict[int, list[RawFile]] = defaultdict(list)
    keys: dict[str, RawFile] = {}
    for at, file in found:
        key = str(at.with_name(PurePosixPath(bare_name(at.name)).stem))
        # Spark writes a part without rows more than once, so parts in a folder may be equal.
        alike = sizes[file.path.stat().st_size] if wanted.named(at.name) else []
        same = keys.get(key) or next(
            (other for other in alike if filecmp.cmp(other.path, file.path, shallow=False)), None
        )
        if same:
            problem = f"{same.name} and {file.name} are copies of one part"
            raise SourceError(problem, advice, file=file.name)
        keys[key] = file
        sizes[file.path.stat().st_size].append(file)
    return [replace(file, is_part=len(files) > 1) for file in files]


def _is_whole(stem: str, at: PurePosixPath, wanted: Wanted) -> bool:
    """Return whether a file is a whole raw file and not a part: its name has no `*`."""
    bare = bare_name(at.name)
    names = [name for name in wanted.files[stem] if "*" not in name]
    return any(bare in (name, name.rpartition(".")[0]) for name in names)
