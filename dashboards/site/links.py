"""Addresses: the file of each page, and of each row of a templated page."""

import hashlib
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

MAX_PAGES = 1_000  # a templated page has no more, and tables say so
MAX_ADDRESS = 60
LINK = re.compile(r'href="([\w-][\w/-]*)\.md"')
_TO_FILE = re.compile(r'<a (?:href="[\w-]+/[\w-]+\.md"|(class="download")[^>]*)>(.*?)</a>')

Sitemap = Mapping[str, Mapping[Any, str]]
"""The address of each page by name and by parameter, which is None for a plain page."""


def addresses(folder: str, values: Iterable[Any]) -> dict[Any, str]:
    """Return an address for each value: its name in plain letters, and a hash if two are alike."""
    names = {value: _plain(str(value)) for value in values if value is not None}
    counts = Counter(names.values())
    return {
        value: f"{folder}/{name}"
        if name and counts[name] == 1
        else f"{folder}/{_told(name, value)}"
        for value, name in list(names.items())[:MAX_PAGES]
    }


def to_files(page: str, up: str) -> str:
    """Return a page with links to the files of other pages; `up` leads to the first folder."""
    return LINK.sub(rf'href="{up}\1.html"', page)


def to_parts(page: str) -> str:
    """Return a page whose links stay inside it; those to other files are removed."""
    return LINK.sub(r'href="#\1"', _TO_FILE.sub(lambda a: "" if a[1] else a[2], page))


def _plain(name: str) -> str:
    letters = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().lower()
    return re.sub(r"[^a-z0-9]+", "-", letters).strip("-")[:MAX_ADDRESS].strip("-")


def _told(name: str, value: Any) -> str:
    digest = hashlib.sha256(str(value).encode()).hexdigest()[:6]
    return f"{name}-{digest}".lstrip("-")
