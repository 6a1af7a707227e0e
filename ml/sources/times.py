"""Read the times of an order log, and say what is wrong with a time that cannot be read.

Every time becomes one canonical text, `2024-03-31` or `2024-03-31 18:05:00`, with or without an
offset such as `+02:00` or `Z`. A time that has two meanings, such as 03/04/2024, needs a format in
`restock.toml`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime

from ml.reading import Mapping

MALFORMED = "?"
"""The canonical text of a time that cannot be read."""

_HOUR_AND_MINUTE = "([01][0-9]|2[0-3])(:[0-5][0-9])"
_OFFSET = "[+-][01][0-9](:?[0-5][0-9])?"
_ZONE = f" ?([Zz]|UTC|GMT|{_OFFSET})"
# DuckDB's own cast also accepts `2024-3-1`, `10:5`, `24:00`, `epoch` and time zone names.
_CANONICAL = (
    f"[0-9]{{4}}-[0-9]{{2}}-[0-9]{{2}}"
    f"([T ]{_HOUR_AND_MINUTE}(:[0-5][0-9]([.][0-9]{{1,9}})?)?(Z|{_OFFSET})?)?"
)
_DATE = "[0-9]{4}(-[0-9]{2}-|/[0-9]{2}/|[.][0-9]{2}[.])[0-9]{2}"
_LONG = f"{_DATE}([Tt ]{_HOUR_AND_MINUTE}(:[0-5][0-9]([.,][0-9]{{1,9}})?)?({_ZONE})?)?"
_COMPACT = (
    f"[0-9]{{8}}([Tt ]([01][0-9]|2[0-3])[0-5][0-9]([0-5][0-9]([.,][0-9]{{1,9}})?)?({_ZONE})?)?"
)
# Each rewrites one part of a time that is not canonical yet.
_REWRITES = (
    ("^([0-9]{4})[-/.]?([0-9]{2})[-/.]?([0-9]{2})", r"\1-\2-\3"),
    ("^(.{10})[Tt ]([0-9]{2}):?([0-9]{2})", r"\1 \2:\3"),
    ("^(.{16}):?([0-9]{2})", r"\1:\2"),
    ("^(.{19}),", r"\1."),
    (" ?([Zz]|UTC|GMT)$", "Z"),
    (f" ({_OFFSET})$", r"\1"),
)
_WIDTHS = {"Y": 4, "y": 2, "m": 2, "d": 2, "H": 2, "M": 2, "S": 2}


def canonical(parts: Sequence[str], mapping: Mapping) -> str:
    """Return SQL for the canonical text of a time; an empty time is NULL.

    Args:
        parts: SQL of the raw text of each column in `mapping`.
        mapping: how the time is written.
    """
    if mapping.day_1:
        return _day_number(parts[0], parts[1:], mapping)
    raw = " || ' ' || ".join(parts)
    if mapping.format:
        known = _formatted(raw, mapping.format)
    else:
        known = raw
        for pattern, replacement in _REWRITES:
            known = f"regexp_replace({known}, '{pattern}', '{replacement}')"
        known = (
            f"case when regexp_full_match({raw}, '{_CANONICAL}') then {raw} "
            f"when regexp_full_match({raw}, '{_LONG}|{_COMPACT}') then {known} end"
        )
    return f"case when {raw} is not null then coalesce({known}, '{MALFORMED}') end"


def has_clock(text: str) -> str:
    """Return SQL that is true if a canonical time has a time of day."""
    return f"length({text}) > 10"


def is_midnight(text: str) -> str:
    """Return SQL that is true if the time of day of a canonical time is midnight."""
    # Most times are not midnight, and a regular expression is slow.
    exactly = f"regexp_full_match({text}, '.{{16}}(:00([.]0+)?)?(Z|[+-].*)?')"
    return f"case when {text} like '___________00:00%' then {exactly} else false end"


def has_offset(text: str) -> str:
    """Return SQL that is true if a canonical time has an offset."""
    return f"({text} like '%Z' or {text} like '%:%+%' or {text} like '%:%-%')"


def _formatted(raw: str, format_: str) -> str:
    if format_ == "excel":
        is_serial = f"regexp_full_match({raw}, '[0-9]{{4,6}}([.,][0-9]+)?')"
        seconds = f"round(replace({raw}, ',', '.')::double * 86400)::bigint"
        at = f"(timestamp '1899-12-30' + to_seconds({seconds}))::varchar"
        return f"case when {is_serial} then {at} end"
    if format_ in ("epoch", "epoch_ms"):
        digits, factor = ("9,10", 1_000_000) if format_ == "epoch" else ("12,13", 1_000)
        is_epoch = f"regexp_full_match({raw}, '[0-9]{{{digits}}}([.,][0-9]{{1,6}})?')"
        number = f"replace({raw}, ',', '.')::decimal(20, 6)"
        at = f"make_timestamp(({number} * {factor})::bigint)::varchar || 'Z'"
        return f"case when {is_epoch} then {at} end"
    offset = ""
    if format_.endswith("%z"):
        format_ = format_.removesuffix("%z").rstrip(" ")
        offset = f" || regexp_replace(trim(regexp_extract({raw}, '{_ZONE}$')), '[Zz]|UTC|GMT', 'Z')"
        is_zoned = f"regexp_matches({raw}, '{_ZONE}$')"
        raw = f"case when {is_zoned} then regexp_replace({raw}, '{_ZONE}$', '') end"
    at = f"try_strptime({_padded(raw, format_)}, {_quoted(format_)})"
    # A format without an hour gives a date.
    type_ = "timestamp" if re.search("%[HI]", format_) else "date"
    return f"{at}::{type_}::varchar{offset}"


def _padded(raw: str, format_: str) -> str:
    """Return SQL that restores the leading zeros of a time written as digits alone, such as 905."""
    letters = re.findall("%(.)", format_)
    if "".join(f"%{letter}" for letter in letters) != format_ or set(letters) - set(_WIDTHS):
        return raw
    width = sum(_WIDTHS[letter] for letter in letters)
    is_digits = f"regexp_full_match({raw}, '[0-9]{{1,{width}}}')"
    return f"case when {is_digits} then lpad({raw}, {width}, '0') end"


def _day_number(day: str, rest: Sequence[str], mapping: Mapping) -> str:
    is_day = f"regexp_full_match({day}, '[0-9]{{1,5}}')"
    date = f"(date '{mapping.day_1}' + ({day}::integer - 1))::varchar"
    known = f"case when {is_day} then {date} end"
    empty = f"{day} is null"
    if rest:
        raw = " || ' ' || ".join(rest)
        clock = f"try_strptime({_padded(raw, mapping.format)}, {_quoted(mapping.format)})"
        known = f"{known} || ' ' || strftime({clock}, '%H:%M:%S')"
        empty = f"{empty} or {raw} is null"
    return f"case when not ({empty}) then coalesce({known}, '{MALFORMED}') end"


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


# --- what is wrong with a time --------------------------------------------------------------------

_DAY_AND_MONTH = re.compile(r"(\d{1,2})([-/. ])(\d{1,2})\2(\d{4}|\d{2})(?![\d])(.*)")
_YEAR_FIRST = re.compile(r"(\d{4})([-/.]?)(\d{1,2})\2(\d{1,2})(?!\d)(.*)")
_TIME_OF_DAY = re.compile(
    r"(?P<gap>,? ?[Tt ] ?)(?P<hour>\d{1,2}):(?P<minute>\d{2})(?P<second>:\d{2}([.,]\d+)?)?"
    r"(?P<half> ?[AaPp]\.?[Mm]\.?)?(?P<zone> ?\S+.*)?"
)
_MONTHS = "january february march april may june july august september october november december"


def explain(text: str, mapping: Mapping) -> tuple[str, str] | None:
    """Return what is wrong with a time and what to do, or None if nothing more can be said."""
    if mapping.format or mapping.day_1:
        how = f'the format "{mapping.format}"' if mapping.format else "the number of a day"
        return (
            f'"{text}" does not match {how}',
            f"Correct the value, or {mapping.column} in restock.toml",
        )
    return (
        _explain_number(text, mapping)
        or _explain_order(text, mapping)
        or _explain_year_first(text, mapping)
        or _explain_month_name(text, mapping)
    )


def _to_map(mapping: Mapping, *formats: str) -> str:
    names = ", ".join(f'"{name}"' for name in mapping.names)
    name = names if len(mapping.names) == 1 else f"[{names}]"
    first, *others = (f'format = "{format_}"' for format_ in formats)
    alternatives = "".join(f", or {other}" for other in others)
    return (
        f"In restock.toml, write under [{mapping.table}]: "
        f"{mapping.column} = {{name = {name}, {first}}}"
        f"{alternatives}"
    )


def _explain_number(text: str, mapping: Mapping) -> tuple[str, str] | None:
    for pattern, what, format_ in (
        (r"\d{9,10}([.,]\d+)?", "looks like seconds since 1970", "epoch"),
        (r"\d{12,13}", "looks like milliseconds since 1970", "epoch_ms"),
        (r"[2-9]\d{4}([.,]\d+)?", "looks like a day number of Excel", "excel"),
        (r"(19|20)\d{12}", "is a time without separators", "%Y%m%d%H%M%S"),
    ):
        if re.fullmatch(pattern, text):
            return f'"{text}" {what}, which Restock does not guess', _to_map(mapping, format_)
    return None


def _explain_order(text: str, mapping: Mapping) -> tuple[str, str] | None:
    if not (found := _DAY_AND_MONTH.fullmatch(text)):
        return None
    first, sign, second, year, rest = found.groups()
    clock = _clock_format(rest)
    if clock is None:
        return None
    y = "%Y" if len(year) == 4 else "%y"
    day_first, month_first = (
        f"{order}{sign}{y}{clock}" for order in (f"%d{sign}%m", f"%m{sign}%d")
    )
    date = text[: len(text) - len(rest)]
    problem = f'in "{text}", the date {date} has two meanings: {first} may be the day or the month'
    if int(first) > 12 or int(second) > 12:
        which = "day" if int(first) > 12 else "month"
        problem = f'in "{text}", the date {date} starts with the {which}, not with the year'
        return problem, _to_map(mapping, day_first if which == "day" else month_first)
    return problem, _to_map(mapping, day_first, month_first)


def _clock_format(rest: str) -> str | None:
    """Return the format of what follows a date, "" if nothing does and None if it is unknown."""
    if not rest:
        return ""
    if not (found := _TIME_OF_DAY.fullmatch(rest)):
        return None
    if found["zone"] and not re.fullmatch(_ZONE, found["zone"]):
        return None
    seconds = ":%S" + (".%f" if "." in found["second"] else "") if found["second"] else ""
    hours = "%I:%M" if found["half"] else "%H:%M"
    half = found["half"].replace(found["half"].strip(), "%p") if found["half"] else ""
    zone = " %z" if found["zone"] else ""
    return f"{found['gap']}{hours}{seconds}{half}{zone}"


def _explain_year_first(text: str, mapping: Mapping) -> tuple[str, str] | None:
    if not (found := _YEAR_FIRST.fullmatch(text)):
        return None
    year, sign, month, day, rest = found.groups()
    correct = "Correct the value, or export the file again"
    if not 1 <= int(month) <= 12:
        return f'in "{text}", there is no month {month}', correct
    try:
        datetime(int(year), int(month), int(day))
    except ValueError:
        return f'in "{text}", there is no day {day} in {year}-{month}', correct
    if not 1990 <= int(year) <= 2100:
        return f'in "{text}", the year {year} is not between 1990 and 2100', correct
    if clock := _TIME_OF_DAY.fullmatch(rest):
        if clock["half"]:
            format_ = _clock_format(rest)
            problem = f'in "{text}", the time of day has {clock["half"].strip()}'
            return problem, _to_map(mapping, f"%Y{sign}%m{sign}%d{format_ or ' %I:%M %p'}")
        for name, limit in (("hour", 23), ("minute", 59)):
            if int(clock[name]) > limit:
                return f'in "{text}", there is no {name} {clock[name]}', correct
        if clock["second"] and int(clock["second"][1:3]) > 59:
            return f'in "{text}", there is no second {clock["second"][1:3]}', correct
        if clock["zone"] and not re.fullmatch(_ZONE, clock["zone"]):
            zone = clock["zone"].strip()
            problem = f'in "{text}", the time zone "{zone}" is unknown'
            return problem, "Write an offset such as +01:00, or leave the time zone out"
    if rest and not clock:
        return None
    padded = f"{year}{sign}{month:0>2}{sign}{day:0>2}"
    if not text.startswith(padded) or (clock and len(clock["hour"]) == 1):
        problem = f'in "{text}", a month, a day or an hour has one digit'
        return problem, _to_map(mapping, f"%Y{sign}%m{sign}%d{_clock_format(rest) or ''}")
    return None


def _explain_month_name(text: str, mapping: Mapping) -> tuple[str, str] | None:
    months = [month for month in _MONTHS.split() if month[:3] in text.casefold()]
    name = re.search("|".join(f"{month}|{month[:3]}" for month in months), text, re.IGNORECASE)
    if not months or not name:
        return None
    format_ = text[: name.start()] + f"%{'B' if len(name[0]) > 3 else 'b'}" + text[name.end() :]
    if clock := re.search(r"\d{1,2}:\d{2}(:\d{2})?( ?[AaPp][Mm])?", format_):
        known = "%I:%M" if clock[2] else "%H:%M"
        known += (":%S" if clock[1] else "") + (" %p" if clock[2] else "")
        format_ = format_[: clock.start()] + known + format_[clock.end() :]
    format_ = re.sub(r"\d{4}", "%Y", format_, count=1)
    format_ = re.sub(r"\d{1,2}", "%d", format_, count=1)
    format_ = re.sub(r"\d{2}", "%y", format_, count=1)
    return f'"{text}" has a month by name', _to_map(mapping, format_)
