"""Ids: whole numbers, or text that no spreadsheet has changed."""

from __future__ import annotations

import re

from ml.sources.landing import Column, identifier, text

# In RE2, \s and [:cntrl:] know ASCII only. \p{Z} are blanks of any kind; \p{C} are control and
# format characters, such as a zero-width space or a byte order mark.
_BLANK = r"[\s\p{Z}\p{C}]"
# 12.0, 3,00: pandas or a spreadsheet. 5.90123E+12: a spreadsheet. 1.234.567: thousands.
_CHANGED_NUMBER = (
    r"-?[0-9]+[.,]0+|-?[0-9]+([.,][0-9]+)?[eE][+][0-9]+|-?[0-9]{1,3}([.][0-9]{3}){2,}"
    r"|-?[0-9]{1,3}(,[0-9]{3}){2,}"
)
_NO_ID = rf"^{_BLANK}|{_BLANK}$|[[:cntrl:]]|^({_CHANGED_NUMBER})$"


def id_column(name: str, whole_numbers: bool) -> Column:
    """Return a column of ids: whole numbers in canonical form, or text."""
    if whole_numbers:
        return identifier(name)
    means = "an id (a whole number, or text without leading or trailing blanks)"
    # Concatenated files repeat the header between the rows.
    return text(name, means, f"not regexp_matches({name}, '{_NO_ID}|^{name}$')", explain=_explain)


def _explain(value: str) -> tuple[str, str] | None:
    if re.fullmatch(_CHANGED_NUMBER, value):
        return (
            f'"{value}" is a number that a spreadsheet or a program has changed, not an id',
            "Give the column the type text, and export the file again",
        )
    if value.strip() != value or not value[:1].isprintable() or not value[-1:].isprintable():
        kinds = [f"U+{ord(char):04X}" for char in (value[0], value[-1]) if not _is_seen(char)]
        return (
            f'"{value}" starts or ends with a blank ({", ".join(kinds)})',
            "Remove the blanks around ids, or export the file again",
        )
    return None


def _is_seen(char: str) -> bool:
    return char.isprintable() and not char.isspace()
