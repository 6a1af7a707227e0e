"""The look of values. Python's format() and d3 in the browser both read the format strings."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from .errors import suggest

FORMATS = {f"num{n}": f",.{n}f" for n in range(5)} | {f"pct{n}": f".{n}%" for n in range(4)}
FORMATS |= {"id": ".0f", "date": "%-d %b %Y", "datetime": "%-d %b %Y %H:%M"}
SUFFIXES = FORMATS | {"share": ".1%", "count": ",.0f", "days": ",.1f", "at": FORMATS["datetime"]}
DASH, MINUS = "\u2013", "\u2212"
# The theme's colours of the words that stand for a risk or a result, the worst first.
TONES = {"low": "negative", "medium": "caution", "high": "positive"}
TONES |= {"fail": "negative", "warn": "caution", "pass": "positive"}


@dataclass(frozen=True)
class Field:
    """A column of a result: its values and their format ("" for the default)."""

    name: str
    values: list[Any]
    format: str = ""

    def formatted(self, name: str) -> Field:
        """Return the column in another format.

        Raises:
            ValueError: the format is unknown, or does not suit the values.
        """
        if name not in FORMATS:
            raise ValueError(f"unknown format {name!r}; {suggest(name, FORMATS)}")
        if not self._suits(FORMATS[name]):
            raise ValueError(f"fmt {name!r} does not suit {self.name!r}, which holds {self.kind}")
        return replace(self, format=FORMATS[name])

    def rows(self, kept: Iterable[int]) -> Field:
        """Return the column with some of its rows."""
        return replace(self, values=[self.values[n] for n in kept])

    @cached_property
    def present(self) -> list[Any]:
        """The values that are not NULL."""
        return [value for value in self.values if value is not None]

    @cached_property
    def kind(self) -> str:
        """The kind of the values: number, time, text, or nothing if all are NULL."""
        if not self.present:
            return "nothing"
        if all(type(value) in (int, float) for value in self.present):
            return "number"
        return "time" if all(isinstance(value, dt.date) for value in self.present) else "text"

    @cached_property
    def spec(self) -> str:
        """The format string: the one set, else by the name's suffix, else by the values."""
        suffix = SUFFIXES.get(self.name.rpartition("_")[2], "")
        if self.format or self._suits(suffix):
            return self.format or suffix
        if self.kind == "time":
            return FORMATS["datetime" if isinstance(self.present[0], dt.datetime) else "date"]
        if self.kind != "number":
            return ""
        top = max(map(abs, self.present))
        whole = top >= 1000 or all(value == int(value) for value in self.present)
        return FORMATS["num0" if whole else "num1" if top >= 10 else "num3"]

    @property
    def title(self) -> str:
        """The name in words, without a suffix that is only a format."""
        words = self.name.split("_")
        return " ".join(words[:-1] if words[1:] and words[-1] in FORMATS else words).capitalize()

    @cached_property
    def texts(self) -> list[str]:
        """The values as text; NULL is a dash."""
        return [self._text(value) for value in self.values]

    def _text(self, value: Any) -> str:
        if value is None or isinstance(value, bool):
            return {None: DASH, True: "yes", False: "no"}[value]
        if self.kind == "number":  # z: no minus sign before a zero
            return format(value, f"z{self.spec}").replace("-", MINUS)
        return format(value, self.spec) if self.spec else str(value)

    def _suits(self, spec: str) -> bool:
        kinds = ("time" if spec.startswith("%") else "number", "nothing")
        return bool(spec) and self.kind in kinds


Fields = dict[str, Field]
"""The result of a query, by column."""
