"""Symbolic links that change their target atomically."""

import os
import shutil
from pathlib import Path


def replace_link(link: Path, target: Path) -> None:
    """Point ``link`` at ``target`` by a relative path, replacing a file, folder or link there."""
    link.parent.mkdir(parents=True, exist_ok=True)
    new = link.with_name(f".{link.name}.new")
    new.unlink(missing_ok=True)
    new.symlink_to(os.path.relpath(target, link.parent))
    if link.is_dir() and not link.is_symlink():
        shutil.rmtree(link)
    new.replace(link)
