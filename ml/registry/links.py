"""Symbolic links that change their target atomically."""

import os
import secrets
from pathlib import Path


def replace_link(link: Path, target: Path) -> None:
    """Point ``link`` at ``target`` by a relative path, replacing a file or a link there.

    Raises:
        IsADirectoryError: ``link`` is a folder, which is never removed.
    """
    link.parent.mkdir(parents=True, exist_ok=True)
    new = link.with_name(f".{link.name}.{secrets.token_hex(4)}")
    new.symlink_to(os.path.relpath(target, link.parent))
    try:
        new.replace(link)
    finally:
        new.unlink(missing_ok=True)
