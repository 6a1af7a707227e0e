"""Symbolic links as switches: what a path leads to changes at one stroke."""

import os
import shutil
from pathlib import Path


def replace_link(link: Path, target: Path) -> None:
    """Let ``link`` lead to ``target``, by a relative path; whatever was there is gone."""
    link.parent.mkdir(parents=True, exist_ok=True)
    new = link.with_name(f".{link.name}.new")
    new.unlink(missing_ok=True)
    new.symlink_to(os.path.relpath(target, link.parent))
    if link.is_dir() and not link.is_symlink():
        shutil.rmtree(link)
    new.replace(link)
