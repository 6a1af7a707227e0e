"""The paths that Restock writes, and how it recognises what it wrote there before.

Every command checks them before any work, and refuses a path that holds something else:

- the warehouse, unless it is a link into a release, or a database with the table ``ml.batches``;
- what lies beside it: ``.lock``, ``.wal``, ``.current``, ``.releases``, ``.runs.jsonl``
  and ``.decisions.jsonl``;
- the landing folder, unless it has a receipt;
- the models folder, unless it has a production link or a version;
- the pages, unless they are a link into a release or to a drawn folder, or a folder with nothing
  but pages. An empty folder is accepted too.
"""

import os
import re
import secrets
import shutil
from collections.abc import Callable
from pathlib import Path

from ml.errors import SettingsError
from ml.registry import records, versions
from ml.registry.links import replace_link
from ml.settings import Settings
from ml.warehouse.connection import check_ownership

_HEX = "[0-9a-f]{8}"
_NAME = rf"(\d{{8}}T\d{{6}}-)?{_HEX}"
RELEASE = re.compile(f"next|{_NAME}")
"""The names of the folders in ``<warehouse>.releases``."""
_IN_RELEASE = (
    r"{warehouse}(\.wal|\.tmp)?|changed\.duckdb(\.wal|\.tmp)?|models|model(-[\w-]+)?|pages"
    r"|index(-\w+)?|before|held\.json|\..*"
)
_PAGE = "· Restock</title>"
_ASSET = re.compile(r"(assets/)?[\w.-]+\.(css|js)|assets/[\w-]+\.txt|downloads/[\w.-]+\.csv")


def check(settings: Settings) -> None:
    """Raise a SettingsError if a path that Restock would write holds something else."""
    warehouse = settings.warehouse
    name = re.escape(warehouse.name)
    if warehouse.is_symlink():
        _require(warehouse, "RESTOCK_WAREHOUSE", _is_link_to(rf"(.*/)?{name}\.current/{name}"))
    else:
        check_ownership(warehouse)

    releases, current, lock = (
        Path(f"{warehouse}.{suffix}") for suffix in ("releases", "current", "lock")
    )
    _require(releases, "RESTOCK_WAREHOUSE", lambda path: _is_releases(path, name))
    _require(current, "RESTOCK_WAREHOUSE", _is_link_to(rf"(.*/)?{name}\.releases/{_NAME}"))
    _require(lock, "RESTOCK_WAREHOUSE", _is_lock)
    for name in ("runs", "decisions"):
        _require(records.file(settings, name), "RESTOCK_WAREHOUSE", records.is_ours)
    if not warehouse.exists():
        _require(Path(f"{warehouse}.wal"), "RESTOCK_WAREHOUSE", lambda path: False)

    variable = "RESTOCK_MODELS or RESTOCK_WAREHOUSE"
    _require(settings.models, variable, _is_models)
    for path in settings.models.glob(f"{versions.ALIAS}*"):
        if versions.IS_ALIAS.fullmatch(path.name):
            _require(path, variable, _is_link_to(r".*\.current/model(-[\w-]+)?|[^/]+"))
    _require(settings.models / ".saving", variable, _is_unfinished_model)

    variable = "RESTOCK_DASHBOARDS or RESTOCK_HOME"
    is_link = _is_link_to(rf".*\.current/pages|{_drawn(settings.dashboards)}")
    _require(settings.dashboards, variable, lambda path: is_link(path) or _is_pages(path))


def check_card(card: Path, name: str) -> None:
    """Raise a SettingsError if a model card, or its file of figures, would replace another."""
    if not card.suffix:
        raise SettingsError(f"--card {card}: use a file name such as model_card.md")
    _require(card, "--card", lambda path: path.is_file() and _begins(path, "# Model card"))
    figures = card.with_suffix("") / f"{name}.json"
    _require(figures, "--card", lambda path: path.is_file() and _begins(path, '{\n "source"'))


def publish_pages(dashboards: Path, target: Path) -> None:
    """Point ``dashboards`` at ``target``, in place of a link, of an empty folder or of pages.

    Raises:
        SettingsError: ``dashboards`` is a folder with anything else.
    """
    old = None
    if dashboards.is_dir() and not dashboards.is_symlink():
        _require(dashboards, "RESTOCK_DASHBOARDS", _is_pages)
        old = dashboards.rename(new_pages(dashboards))
    replace_link(dashboards, target)
    if old:
        shutil.rmtree(old, ignore_errors=True)


def new_pages(dashboards: Path) -> Path:
    """Return a new path beside ``dashboards`` to draw its pages in."""
    return dashboards.with_name(f".{dashboards.name}-{secrets.token_hex(4)}")


def remove_old_pages(dashboards: Path) -> None:
    """Delete the folders that earlier reports drew beside ``dashboards``."""
    shown = dashboards.resolve()
    for folder in dashboards.parent.iterdir():
        is_drawn = re.fullmatch(_drawn(dashboards), folder.name)
        if is_drawn and folder.resolve() != shown and _is_pages(folder):
            shutil.rmtree(folder, ignore_errors=True)


def _require(path: Path, variable: str, is_ours: Callable[[Path], bool]) -> None:
    if os.path.lexists(path) and not is_ours(path):
        is_full = path.is_dir() and any(path.iterdir())
        contents = "it contains files" if is_full else "it is a file, a link or a mount"
        raise SettingsError(
            f"Refusing to overwrite {path}: {contents} Restock did not create. "
            f"Set {variable} to a new path."
        )


def _is_link_to(pattern: str) -> Callable[[Path], bool]:
    """Return a check for a link with a target that matches a regular expression."""
    return lambda path: path.is_symlink() and bool(re.fullmatch(pattern, str(path.readlink())))


def _drawn(dashboards: Path) -> str:
    """Return a regular expression for the names of `new_pages`."""
    return rf"\.{re.escape(dashboards.name)}-{_HEX}"


def _is_releases(folder: Path, warehouse: str) -> bool:
    """Return whether a folder has nothing but releases; ``warehouse`` is a regular expression."""
    if folder.is_symlink() or not folder.is_dir():
        return False
    known = re.compile(_IN_RELEASE.format(warehouse=warehouse))
    return all(
        release.is_dir()
        and RELEASE.fullmatch(release.name)
        and all(known.fullmatch(path.name) for path in release.iterdir())
        for release in folder.iterdir()
        if release.name != ".DS_Store"
    )


def _is_lock(path: Path) -> bool:
    """Return whether a file has a process id, or is empty."""
    if not path.is_file() or path.stat().st_size > 20:
        return False
    return not path.read_bytes().strip(b"0123456789")


def _is_models(folder: Path) -> bool:
    """Return whether a folder is empty or has models; what else it has stays there."""
    names = [path.name for path in folder.iterdir()]
    return (
        not names
        or versions.ALIAS in names
        or any((folder / name / "model.json").exists() for name in names)
    )


def _is_unfinished_model(folder: Path) -> bool:
    files = re.compile(r"model\.(joblib|json|part)|\w+\.parquet|features\.sql")
    return folder.is_dir() and all(files.fullmatch(path.name) for path in folder.iterdir())


def _is_pages(folder: Path) -> bool:
    """Return whether a folder is empty, or has our first page and nothing but pages and assets."""
    if folder.is_symlink() or not folder.is_dir() or folder.is_mount():
        return False
    files = [path for path in folder.rglob("*") if not path.is_dir()]
    if files and folder / "index.html" not in files:
        return False
    return all(_is_page(path) or _ASSET.fullmatch(str(path.relative_to(folder))) for path in files)


def _is_page(path: Path) -> bool:
    if path.suffix != ".html" or not path.is_file():
        return False
    beginning = _beginning(path)
    return not beginning or _PAGE in beginning


def _begins(path: Path, text: str) -> bool:
    return _beginning(path).startswith(text)


def _beginning(path: Path) -> str:
    with path.open(encoding="utf-8", errors="replace") as file:
        return file.read(2000)
