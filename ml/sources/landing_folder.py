"""The folder of the landed tables: recognise it, and replace it as a whole."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ml.errors import SettingsError
from ml.sources.raw import SourceError
from ml.sources.receipt import RECEIPT


def landing_folders(folder: Path) -> tuple[Path, Path, Path]:
    """Return the folder of the landed files, and those beside it that landing writes to."""
    return folder, folder.with_name(f"{folder.name}.new"), folder.with_name(f"{folder.name}.old")


def check_landing(folder: Path) -> None:
    """Raise a SettingsError if landing in a folder would replace something else.

    A landing folder has a receipt. Landing also replaces the folders of `landing_folders`.
    """
    for path in landing_folders(folder):
        if not is_landing(path):
            raise SettingsError(
                f"Refusing to overwrite {path}: it contains files Restock did not create. "
                "Set RESTOCK_LANDING or RESTOCK_WAREHOUSE to a new path."
            )


def is_landing(folder: Path) -> bool:
    """Return whether landing may replace a folder: it is missing, empty, or landed files."""
    if not folder.is_dir():
        return not folder.exists() and not folder.is_symlink()
    if not any(folder.iterdir()):
        return True
    try:
        receipt = json.loads((folder / RECEIPT).read_text(encoding="utf-8"))
    except OSError:
        return False
    except ValueError:  # a run was killed before it finished, or the receipt is damaged
        return True
    return isinstance(receipt, dict) and "intake" in receipt


@contextmanager
def replacing(folder: Path) -> Iterator[Path]:
    """Yield an empty folder that replaces `folder` if the block succeeds."""
    new, old = landing_folders(folder)[1:]
    for path in (folder, new, old):
        if not is_landing(path):
            problem = "refusing to overwrite the folder: it contains files Restock did not create"
            raise SourceError(problem, "Choose another folder, or empty this one", file=str(path))
    if old.exists() and not folder.exists():  # A run was killed between the two renames below.
        old.rename(folder)
    for left in (new, old):
        shutil.rmtree(left, ignore_errors=True)
    new.mkdir(parents=True)
    (new / RECEIPT).touch()  # marks the folder as Restock's if the run is killed
    try:
        yield new
        if folder.exists():
            folder.rename(old)
        new.rename(folder)
        shutil.rmtree(old, ignore_errors=True)
    finally:
        shutil.rmtree(new, ignore_errors=True)
