"""The condition of an {#if}: one value of a query's first row, alone or compared with a literal."""

import operator
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from .errors import suggest
from .formats import Field, Fields

OPERATORS: dict[str, Callable[[Any, Any], bool]] = {
    "==": operator.eq,
    "!=": operator.ne,
    "<=": operator.le,
    ">=": operator.ge,
    "<": operator.lt,
    ">": operator.gt,
}
CONDITION = re.compile(
    r"(?P<negated>!\s*|not\s+)?(?P<query>\w+)\.(?P<column>\w+)"
    r"(?:\s*(?P<operator>[=!<>]=|[<>])\s*"
    r"""(?:(?P<number>-?\d+(?:\.\d+)?)|"(?P<double>[^"]*)"|'(?P<single>[^']*)'))?"""
)
EXAMPLES = "query.column, not query.column, query.column > 0 or query.column == 'text'"


@dataclass(frozen=True)
class Condition:
    """A value and, with an operator, the literal it is compared with."""

    query: str
    column: str
    is_negated: bool = False
    operator: str = ""
    literal: float | str = ""

    def holds(self, fields: Fields) -> bool:
        """Return whether the condition holds in the first row of its query's result.

        A missing value, false, 0 and "" are false. A comparison with a missing value is false.

        Raises:
            ValueError: there is no such column, or it cannot be compared with the literal.
        """
        if self.column not in fields:
            raise ValueError(f"no column {self.column!r}; {suggest(self.column, fields)}")
        field = fields[self.column]
        value = field.values[0] if field.values else None
        if not self.operator:
            return bool(value) != self.is_negated
        self._check(field)
        return value is not None and OPERATORS[self.operator](value, self.literal)

    def _check(self, field: Field) -> None:
        """Raise a ValueError if a comparison with the column has no meaning."""
        is_text = isinstance(self.literal, str)
        if is_text and self.operator not in ("==", "!="):
            raise ValueError(f"{self.operator} compares numbers; compare text with == or !=")
        if any(isinstance(value, bool) for value in field.present):
            raise ValueError(f"{field.name!r} is true or false; remove the comparison")
        if field.kind == "time":
            raise ValueError(f"{field.name!r} is a time column; compare it in the SQL")
        if field.kind not in ("nothing", "text" if is_text else "number"):
            other = "a number" if is_text else "a quoted text"
            raise ValueError(f"{field.name!r} is a {field.kind} column; compare it with {other}")


def parse_condition(text: str) -> Condition:
    """Parse the condition in ``{#if condition}``.

    Raises:
        ValueError: the text is not a condition.
    """
    found = CONDITION.fullmatch(text.strip())
    if not found or (found["negated"] and found["operator"]):
        raise ValueError(f"{text.strip()!r} is not a condition; write {EXAMPLES}")
    literal: float | str = found["double"] or found["single"] or ""
    if found["number"]:
        literal = float(found["number"])
    is_negated, compared = bool(found["negated"]), found["operator"] or ""
    return Condition(found["query"], found["column"], is_negated, compared, literal)
