"""Times are read as a careful reader would read them, or refused with the part at fault."""

from __future__ import annotations

import re
from datetime import datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fuzz_sources import write_csv

from ml.errors import SettingsError
from ml.reading import Mapping, Reading
from ml.settings import Settings
from ml.sources import SourceError, land
from ml.sources.times import explain

HEADER = ["user_id", "order_id", "ordered_at", "product_id"]


def read(tmp_path: Path, *texts: str, **mapping: str) -> list[datetime]:
    """Land an order log with these times, one order each; return the landed times."""
    raw, landing = tmp_path / "raw", tmp_path / "landing"
    raw.mkdir(exist_ok=True)
    rows = [["7", str(number), text, "1"] for number, text in enumerate(texts)]
    write_csv(raw / "order_lines.csv", [HEADER, *rows])
    columns = (Mapping("ordered_at", ("ordered_at",), **mapping),) if mapping else ()
    land("order_log", raw, landing, reading=Reading(columns))
    return pq.read_table(landing / "order_lines.parquet")["ordered_at"].to_pylist()


READ = {
    "2019-01-10 05:21:23 -0300": "2019-01-10 05:21:23",
    "2019-01-10 05:21:23 +05:30": "2019-01-10 05:21:23",
    "2019-01-10 05:21:23 -03": "2019-01-10 05:21:23",
    "2019-01-10 05:21:23 UTC": "2019-01-10 05:21:23",
    "2019-01-10 05:21 GMT": "2019-01-10 05:21:00",
    "2019-01-10 05:21:23UTC": "2019-01-10 05:21:23",
    "2019-01-10 05:21:23 Z": "2019-01-10 05:21:23",
    "2019-01-10t05:21:23z": "2019-01-10 05:21:23",
    "2023/03/05": "2023-03-05 00:00:00",
    "2023/03/05 10:11": "2023-03-05 10:11:00",
    "2023/03/05 10:11:12 +0100": "2023-03-05 10:11:12",
    "2023.03.05 10:11": "2023-03-05 10:11:00",
    "2023-03-05 10:11:12,5": "2023-03-05 10:11:12.500000",
    "2023-03-05T10:11:12,123456Z": "2023-03-05 10:11:12.123456",
    "20230305": "2023-03-05 00:00:00",
    "20230305T101112Z": "2023-03-05 10:11:12",
    "20230305T1011": "2023-03-05 10:11:00",
    "20230305 101112.25": "2023-03-05 10:11:12.250000",
    "20230305T101112+0100": "2023-03-05 10:11:12",
}


@pytest.mark.parametrize("text", READ)
def test_reads_times_with_one_meaning(text: str, tmp_path: Path) -> None:
    assert read(tmp_path, text) == [datetime.fromisoformat(READ[text])]


REFUSED = {
    "03/04/2024": ["03/04/2024 has two meanings", '"%d/%m/%Y"', '"%m/%d/%Y"'],
    "3.4.2024 9:05": ["3.4.2024 has two meanings", '"%d.%m.%Y %H:%M"'],
    "31/03/2024 10:11": ["starts with the day", '"%d/%m/%Y %H:%M"'],
    "12-31-24": ["starts with the month", '"%m-%d-%y"'],
    "3/4/2024 10:11:12 PM": ["two meanings", '"%m/%d/%Y %I:%M:%S %p"'],
    "3/4/2024, 10:11 pm": ["two meanings", '"%m/%d/%Y, %I:%M %p"'],
    "3/4/2024 10:11 +0100": ["two meanings", '"%m/%d/%Y %H:%M %z"'],
    "2024-03-04 10:11 PM": ["the time of day has PM", '"%Y-%m-%d %I:%M %p"'],
    "1711900000": ["seconds since 1970", '"epoch"'],
    "1711900000123": ["milliseconds since 1970", '"epoch_ms"'],
    "45382.75": ["Excel", '"excel"'],
    "20240304101112": ["without separators", '"%Y%m%d%H%M%S"'],
    "2024-13-04": ["no month 13"],
    "2024-02-30": ["no day 30 in 2024-02"],
    "20240230": ["no day 30 in 2024-02"],
    "2024-03-04 25:00": ["no hour 25"],
    "2024-03-04 24:00": ["no hour 24"],
    "2024-03-04 10:60": ["no minute 60"],
    "2024-03-04 10:11:61": ["no second 61"],
    "2024-03-04 10:11 CET": ['time zone "CET"', "+01:00"],
    "2024-03-04 10:11 Europe/Paris": ['time zone "Europe/Paris"'],
    "2024-03-04 10:11 +25:00": ['time zone "+25:00"'],
    "2024-3-4": ["one digit", '"%Y-%m-%d"'],
    "2024/03/04 9:05": ["one digit", '"%Y/%m/%d %H:%M"'],
    "1024-03-04": ["year 1024"],
    "4 Mar 2024": ["month by name", '"%d %b %Y"'],
    "21-Nov-24 10:11:12": ["month by name", '"%d-%b-%y %H:%M:%S"'],
    "November 21, 2024 10:11 PM": ["month by name", '"%B %d, %Y %I:%M %p"'],
    "yesterday": ["not a date or time"],
    "": ["an empty value"],
}


@pytest.mark.parametrize("text", REFUSED)
def test_refuses_times_with_two_meanings_or_none(text: str, tmp_path: Path) -> None:
    with pytest.raises(SourceError) as caught:
        read(tmp_path, "2024-03-04", text)
    assert (caught.value.line, caught.value.column) == (3, "ordered_at")
    for part in REFUSED[text]:
        assert part in str(caught.value)


@pytest.mark.parametrize("text", [text for text, parts in REFUSED.items() if '"%' in parts[-1]])
def test_reads_a_refused_time_with_a_format_from_the_message(text: str, tmp_path: Path) -> None:
    _, advice = explain(text, Mapping("ordered_at", ("ordered_at",))) or ("", "")
    *_, format_ = re.findall('"(%[^"]*)"', advice)
    # Python's own strptime is the oracle; %f has one to six digits in both.
    expected = datetime.strptime(text, format_).replace(tzinfo=None)
    assert read(tmp_path, text, format=format_) == [expected]


@pytest.mark.parametrize(
    ("format_", "text", "expected"),
    [
        ("epoch", "1711900000", "2024-03-31 15:46:40"),
        ("epoch", "1711900000.25", "2024-03-31 15:46:40.250000"),
        ("epoch_ms", "1711900000123", "2024-03-31 15:46:40.123000"),
        ("excel", "45382.75", "2024-03-31 18:00:00"),
        ("excel", "45382,4236111111", "2024-03-31 10:10:00"),
        ("%d%m%Y", "5032023", "2023-03-05"),
        ("%d %b %Y", "5 Mar 2023", "2023-03-05"),
        ("%Y-%m-%dT%H:%M:%S.%f%z", "2023-03-05T10:11:12.5+01:00", "2023-03-05 10:11:12.500000"),
    ],
)
def test_reads_times_in_the_format_given(
    format_: str, text: str, expected: str, tmp_path: Path
) -> None:
    assert read(tmp_path, text, format=format_) == [datetime.fromisoformat(expected)]


@pytest.mark.parametrize(
    ("format_", "text"),
    [
        ("%d/%m/%Y", "03/31/2024"),
        ("%d/%m/%Y", "31/03/2024 10:11"),
        ("%d/%m/%Y", "30/02/2024"),
        ("%Y-%m-%d %H:%M %z", "2024-03-31 10:11"),
        ("%Y-%m-%d", "1711900000"),
        ("epoch", "2024-03-31"),
        ("epoch", "1711900000123"),
        ("excel", "2024-03-31"),
    ],
)
def test_refuses_times_in_another_format(format_: str, text: str, tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r'does not match the format ".*" *\. Correct') as caught:
        read(tmp_path, text, format=format_)
    assert caught.value.line == 2


def test_numbers_in_parquet_need_a_format(tmp_path: Path) -> None:
    columns = {name: pa.array([1, 2]) for name in HEADER} | {"ordered_at": [1711900000] * 2}
    pq.write_table(pa.table(columns), tmp_path / "order_lines.parquet")
    with pytest.raises(SourceError, match="the type BIGINT is not supported"):
        land("order_log", tmp_path, tmp_path / "landing")
    reading = Reading((Mapping("ordered_at", ("ordered_at",), format="epoch"),))
    land("order_log", tmp_path, tmp_path / "landing", reading=reading)


@pytest.mark.parametrize(
    ("entry", "problem"),
    [
        ('{name = "at", format = "%d/%m"}', "needs a year, a month and a day"),
        ('{name = "at", format = "%d/%m/%Y %I:%M"}', "needs %I with %p"),
        ('{name = "at", format = "%d/%m/%Y %H:%M %p"}', "needs %I with %p"),
        ('{name = "at", format = "%d/%m/%Y %Z"}', "unknown %Z"),
        ('{name = "at", format = "%z %d/%m/%Y"}', "must end with %z"),
        ('{name = "at", day_1 = "1 May"}', "1 May"),
        ('{name = "at", formt = "x"}', "unknown key 'formt'"),
        ('{format = "%Y-%m-%d"}', "write the name of a column"),
        ("[]", "write the name of a column"),
        ("7", "write the name of a column"),
    ],
)
def test_refuses_a_mapping_with_an_invalid_entry(
    entry: str, problem: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RESTOCK_HOME", str(tmp_path))
    path = tmp_path / "restock.toml"
    path.write_text(f"[columns]\nordered_at = {entry}\n")
    with pytest.raises(SettingsError) as caught:
        Settings.load()
    assert str(caught.value).startswith(f"{path}: [columns]: invalid ordered_at: ")
    assert problem in str(caught.value)
