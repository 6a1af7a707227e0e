"""Damage raw files in many ways, and check that landing rejects them or reads every row right.

What is right is decided here, as a careful reader would, without `ml.sources`: by reading the
damaged files anew, or by the undamaged files where the damage is another way to write the same.

`python tests/python/fuzz_sources.py --cases 300 --seed 7` prints a table. The exit code is 1 if a
damaged folder lost a row, landed a row that a careful reader reads otherwise, or raised any error
other than a `SourceError`.
"""

from __future__ import annotations

import argparse
import bz2
import csv
import gzip
import io
import lzma
import random
import re
import shutil
import sys
import tarfile
import tempfile
import tomllib
import unicodedata
import zipfile
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import partial
from itertools import islice, pairwise
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

import pyarrow as pa
import pyarrow.parquet as pq

from ml.reading import Reading
from ml.sources import SourceError, land

Rows = list[list[str]]
Damage = Callable[[random.Random, Path], None]


# --- undamaged folders ----------------------------------------------------------------------------


def write_csv(path: Path, rows: Rows) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows(rows)


def read_csv(path: Path) -> Rows:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.reader(file))


def write_instacart(folder: Path, shoppers: int = 20, seed: int = 0) -> Path:
    """Write the six files; two of three shoppers have an open order, the third a train order."""
    rng = random.Random(seed)
    folder.mkdir(parents=True, exist_ok=True)
    products = [
        f"{word} {size}" for word in ("Milk", 'Rye "dark"', "Café, ground") for size in "SML"
    ]
    header = "order_id,user_id,eval_set,order_number,order_dow,order_hour_of_day"
    orders = [[*header.split(","), "days_since_prior_order"]]
    lines: dict[str, Rows] = {"prior": [], "train": []}
    ids = iter(rng.sample(range(1, 10_000), 1_000))
    for user in range(1, shoppers + 1):
        n = rng.randint(4, 8)
        for number in range(1, n + 1):
            order = str(next(ids))
            eval_set = "prior" if number < n else ("train" if user % 3 == 0 else "test")
            context = [str(rng.randrange(7)), str(rng.randrange(7, 23))]
            days = "" if number == 1 else f"{rng.randint(0, 30)}.0"
            orders.append([order, str(user), eval_set, str(number), *context, days])
            if eval_set != "test":
                basket = rng.sample(range(1, len(products) + 2), rng.randint(1, 5))
                lines[eval_set] += [
                    [order, str(product), str(position), str(rng.randrange(2))]
                    for position, product in enumerate(basket, 1)
                ]
    line_header = ["order_id", "product_id", "add_to_cart_order", "reordered"]
    write_csv(folder / "orders.csv", orders)
    write_csv(folder / "order_products__prior.csv", [line_header, *lines["prior"]])
    write_csv(folder / "order_products__train.csv", [line_header, *lines["train"]])
    catalogue = [[str(i), name, "1", "1"] for i, name in enumerate(products, 1)]
    product_header = ["product_id", "product_name", "aisle_id", "department_id"]
    write_csv(folder / "products.csv", [product_header, *catalogue])
    write_csv(folder / "aisles.csv", [["aisle_id", "aisle"], ["1", "dairy"]])
    write_csv(folder / "departments.csv", [["department_id", "department"], ["1", "fresh"]])
    return folder


def write_large_instacart(folder: Path) -> Path:
    """Write train orders that fill more than one Parquet row group, which has 122,880 rows."""
    path = write_instacart(folder) / "order_products__train.csv"
    header, *lines = read_csv(path)
    orders = dict.fromkeys(row[0] for row in lines)
    large = [[order, str(n), str(n), "0"] for order in orders for n in range(1, 25_001)]
    write_csv(path, [header, *large])
    return folder


def order_log_rows(shoppers: int = 20, seed: int = 0) -> tuple[Rows, Rows]:
    """Return the rows of order_lines.csv and products.csv, headers first."""
    rng = random.Random(seed)
    lines = [["user_id", "order_id", "ordered_at", "product_id", "cart_position"]]
    order = 0
    for user in range(1, shoppers + 1):
        at = datetime(2024, 1, 1, 8) + timedelta(minutes=rng.randrange(500_000))
        for _ in range(rng.randint(1, 6)):
            order, at = order + 1, at + timedelta(minutes=rng.randrange(1, 30_000))
            for position, product in enumerate(rng.sample(range(1, 11), 3), 1):
                where = str(position) if rng.random() < 0.9 else ""
                lines.append([f"u{user}", str(order), at.isoformat(" "), str(product), where])
    products = [["product_id", "product_name", "aisle", "department"]]
    products += [[str(i), f"Thing, no. {i}", "things", ""] for i in range(1, 10)]
    return lines, products


def write_order_log(folder: Path, shoppers: int = 20, seed: int = 0) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    lines, products = order_log_rows(shoppers, seed)
    write_csv(folder / "order_lines.csv", lines)
    write_csv(folder / "products.csv", products)
    return folder


def write_order_log_with_returns(folder: Path, shoppers: int = 20, seed: int = 0) -> Path:
    """Write an order log with quantities; some lines are returns, of one purchase or of several."""
    rng = random.Random(seed)
    folder.mkdir(parents=True, exist_ok=True)
    (header, *lines), products = order_log_rows(shoppers, seed)
    rows = [[*header, "quantity"]]
    for number, (user, order, at, product, where) in enumerate(lines):
        units = rng.choice(["1", "1", "2", "0.5", "", "0"])
        rows.append([user, order, at, product, where, units])
        if rng.random() < 0.3:
            later = datetime.fromisoformat(at) + timedelta(minutes=rng.randrange(9_000))
            back = [user, str(100_000 + number), later.isoformat(" "), product, ""]
            rows.append([*back, rng.choice(["-1", "-3", "-0.5"])])
    write_csv(folder / "order_lines.csv", rows)
    write_csv(folder / "products.csv", products)
    return folder


def write_order_log_parquet(folder: Path, shoppers: int = 20, seed: int = 0) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (header, *lines), _ = order_log_rows(shoppers, seed)
    user, order, at, product, _ = zip(*lines, strict=True)
    times = [datetime.fromisoformat(text) for text in at]
    columns = [list(user), [int(o) for o in order], times, [int(p) for p in product]]
    table = pa.table(dict(zip(header[:4], columns, strict=True)))
    _write_parquet(folder / "order_lines.parquet", table)
    return folder


def _write_parquet(path: Path, table: pa.Table) -> None:
    # Arrow's own copy of the schema only adds ways to reject a damaged file, so leave it out.
    pq.write_table(table, path, store_schema=False)


def write_xlsx(path: Path, rows: list[list[Any]]) -> None:
    """Write a workbook of two sheets; the first has these rows."""
    main = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
    office = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
    package = "http://schemas.openxmlformats.org/package/2006/relationships"

    def cell(row: int, at: int, value: Any) -> str:
        place = f'r="{chr(65 + at)}{row}"'
        if value is None:
            return ""
        if isinstance(value, datetime):
            days = (value - datetime(1899, 12, 30)) / timedelta(days=1)
            return f'<c {place} s="1"><v>{days!r}</v></c>'
        if isinstance(value, str):
            return f'<c {place} t="inlineStr"><is><t>{escape(value)}</t></is></c>'
        return f"<c {place}><v>{value}</v></c>"

    def sheet(rows: list[list[Any]]) -> str:
        lines = (
            f'<row r="{n}">{"".join(cell(n, at, value) for at, value in enumerate(row))}</row>'
            for n, row in enumerate(rows, 1)
        )
        return f'<worksheet xmlns="{main}"><sheetData>{"".join(lines)}</sheetData></worksheet>'

    sheets = "".join(f'<sheet name="s{n}" sheetId="{n}" r:id="rId{n}"/>' for n in (1, 2))
    kinds = {1: "worksheet", 2: "worksheet", 3: "styles"}
    targets = {1: "worksheets/sheet1.xml", 2: "worksheets/sheet2.xml", 3: "styles.xml"}
    relations = "".join(
        f'<Relationship Id="rId{n}" Type="{office}/{kinds[n]}" Target="{targets[n]}"/>'
        for n in kinds
    )
    book = f'<workbook xmlns="{main}" xmlns:r="{office}"><sheets>{sheets}</sheets></workbook>'
    styles = '<cellXfs><xf numFmtId="0"/><xf numFmtId="22" applyNumberFormat="1"/></cellXfs>'
    first = f'<Relationship Id="r" Type="{office}/officeDocument" Target="xl/workbook.xml"/>'
    related = f'<Relationships xmlns="{package}">{relations}</Relationships>'
    parts = {
        "_rels/.rels": f'<Relationships xmlns="{package}">{first}</Relationships>',
        "xl/workbook.xml": book,
        "xl/_rels/workbook.xml.rels": related,
        "xl/styles.xml": f'<styleSheet xmlns="{main}">{styles}</styleSheet>',
        "xl/worksheets/sheet1.xml": sheet(rows),
        "xl/worksheets/sheet2.xml": sheet([["notes"]]),
    }
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in parts.items():
            archive.writestr(name, text)


# --- damage ---------------------------------------------------------------------------------------


def _bytes(change: Callable[[random.Random, bytearray], bytes | bytearray]) -> Damage:
    def damage(rng: random.Random, path: Path) -> None:
        path.write_bytes(change(rng, bytearray(path.read_bytes())))

    return damage


def _rows(change: Callable[[random.Random, Rows], Rows]) -> Damage:
    def damage(rng: random.Random, path: Path) -> None:
        write_csv(path, change(rng, read_csv(path)))

    return damage


def _value(*values: str, of: str = "") -> Damage:
    """Replace one value below the header with one of these, in a column whose name ends so."""

    def change(rng: random.Random, rows: Rows) -> Rows:
        row = rng.choice(rows[1:])
        columns = [at for at, name in enumerate(rows[0]) if name.endswith(of)]
        row[rng.choice(columns or [0])] = rng.choice(values)
        return rows

    return _rows(change)


def _flip(times: int) -> Damage:
    def change(rng: random.Random, data: bytearray) -> bytearray:
        for _ in range(times):
            data[rng.randrange(len(data))] ^= rng.randrange(1, 256)
        return data

    return _bytes(change)


def _insert(*pieces: bytes) -> Damage:
    def change(rng: random.Random, data: bytearray) -> bytearray:
        at = rng.randrange(len(data))
        return data[:at] + rng.choice(pieces) + data[at:]

    return _bytes(change)


def _columns(change: Callable[[random.Random, list[int]], list[int]]) -> Damage:
    """Reorder, drop or repeat columns, including their headers."""

    def rearranged(rng: random.Random, rows: Rows) -> Rows:
        order = change(rng, list(range(len(rows[0]))))
        return [[row[i] for i in order] for row in rows]

    return _rows(rearranged)


def _header(change: Callable[[random.Random, list[str]], list[str]]) -> Damage:
    return _rows(lambda rng, rows: [change(rng, rows[0]), *rows[1:]])


def _without(rng: random.Random, data: bytearray, length: int) -> bytearray:
    at = rng.randrange(len(data))
    return data[:at] + data[at + length :]


def _all_but_one(rng: random.Random, things: list[Any]) -> list[Any]:
    at = rng.randrange(len(things))
    return things[:at] + things[at + 1 :]


def _some_line_ends(rng: random.Random, data: bytearray) -> bytes:
    lines = data.split(b"\n")
    return b"".join(line + rng.choice([b"\n", b"\n", b"\r\n", b"\r"]) for line in lines[:-1])


def _duplicated_row(rng: random.Random, rows: Rows) -> Rows:
    at = rng.randrange(1, len(rows))
    return rows[: at + 1] + rows[at:]


def _cut_row(rng: random.Random, rows: Rows) -> Rows:
    row = rng.choice(rows[1:])
    del row[rng.randrange(len(row))]
    return rows


def _shuffled(rng: random.Random, rows: Rows) -> Rows:
    return [rows[0], *rng.sample(rows[1:], len(rows) - 1)]


def _packed(cut: bool, archive: bool) -> Damage:
    """Compress the file, and truncate the archive if `cut`."""

    def damage(rng: random.Random, path: Path) -> None:
        target = path.with_name(path.name + (".zip" if archive else ".gz"))
        if archive:
            with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as packed:
                packed.write(path, f"folder/{path.name}")
        else:
            target.write_bytes(gzip.compress(path.read_bytes()))
        path.unlink()
        if cut:
            data = target.read_bytes()
            target.write_bytes(data[: rng.randrange(len(data))])

    return damage


def _packed_flipped(rng: random.Random, path: Path) -> None:
    archive = rng.random() < 0.5
    _packed(cut=False, archive=archive)(rng, path)
    _flip(1)(rng, path.with_name(path.name + (".zip" if archive else ".gz")))


def _all_quoted(rng: random.Random, path: Path) -> None:
    rows = read_csv(path)
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, quoting=csv.QUOTE_ALL).writerows(rows)


def _folder_instead(rng: random.Random, path: Path) -> None:
    path.unlink()
    path.mkdir()


def _twice(rng: random.Random, path: Path) -> None:
    path.with_name(path.name + ".gz").write_bytes(gzip.compress(path.read_bytes()))


def _recoded(encoding: str) -> Damage:
    def damage(rng: random.Random, path: Path) -> None:
        text = path.read_text(encoding="utf-8") + ("" if "utf" in encoding else "é")
        path.write_bytes(text.encode(encoding))

    return damage


def _compressed(cut: bool) -> Damage:
    def damage(rng: random.Random, path: Path) -> None:
        data = path.read_bytes()
        kind = rng.choice([".bz2", ".xz", ".zst"])
        if kind == ".zst":
            sink = pa.BufferOutputStream()
            with pa.CompressedOutputStream(sink, "zstd") as stream:
                stream.write(data)
            data = sink.getvalue().to_pybytes()
        else:
            data = (bz2 if kind == ".bz2" else lzma).compress(data)
        _replace(path, kind, data[: rng.randrange(len(data))] if cut else data)

    return damage


def _tarred(cut: bool) -> Damage:
    def damage(rng: random.Random, path: Path) -> None:
        sink = io.BytesIO()
        with tarfile.open(fileobj=sink, mode="w") as archive:
            archive.add(path, f"folder/{path.name}")
        data, kind = sink.getvalue(), ".tar"
        if rng.random() < 0.5:
            data, kind = gzip.compress(data), ".tgz"
        _replace(path, kind, data[: rng.randrange(len(data))] if cut else data)

    return damage


def _replace(path: Path, suffix: str, data: bytes) -> None:
    path.with_name(path.name + suffix).write_bytes(data)
    path.unlink()


def _in_a_folder(rng: random.Random, path: Path) -> None:
    """Move every file into a folder, as unzipping does."""
    paths = list(path.parent.iterdir())
    folder = path.parent / "unzipped here"
    folder.mkdir()
    for each in paths:
        each.rename(folder / each.name)


def _in_parts(rng: random.Random, path: Path) -> None:
    """Cut the file into parts in a folder, or order lines into monthly files."""
    header, *rows = read_csv(path)
    path.unlink()
    cuts = [0, *sorted(rng.sample(range(1, len(rows)), min(2, len(rows) - 1))), len(rows)]
    parts = [rows[start:end] for start, end in pairwise(cuts)]
    if path.name == "order_lines.csv" and rng.random() < 0.5:
        names = [path.with_name(f"order_lines_2023-{n:02}.csv") for n, _ in enumerate(parts, 1)]
    else:
        path.mkdir()
        (path / "_SUCCESS").touch()
        names = [path / f"part-{n:05}.csv" for n, _ in enumerate(parts)]
    for name, part in zip(names, parts, strict=True):
        write_csv(name, [header, *part])


def _in_upper_case(rng: random.Random, path: Path) -> None:
    path.rename(path.with_name(path.name.upper()))


def _beside_a_broken_zip(rng: random.Random, path: Path) -> None:
    path.with_name("photos.zip").write_bytes(b"PK\3\4broken")


def _lines(damage: Damage) -> Damage:
    """Return the damage to the order lines, whichever file is drawn."""
    return lambda rng, path: damage(rng, path.with_name("order_lines.csv"))


_WRITINGS = (
    *("%Y-%m-%dT%H:%M:%SZ", "%Y-%m-%d %H:%M:%S UTC", "%Y-%m-%d %H:%M:%S +0000", "%Y%m%dT%H%M%S"),
    *("%Y/%m/%d %H:%M:%S", "%Y-%m-%d %H:%M:%S,000", "%Y%m%d %H%M%S GMT", "%Y.%m.%d %H:%M:%S"),
    *("%d/%m/%Y %H:%M:%S", "%m/%d/%Y %I:%M:%S %p", "%d.%m.%y %H:%M:%S", "%s", "%d %b %Y %H:%M:%S"),
)


def _times_otherwise(rng: random.Random, path: Path) -> None:
    """Write all times in another way; half of the ways have more than one meaning."""
    rows, writing = read_csv(path), rng.choice(_WRITINGS)
    at = rows[0].index("ordered_at")
    for row in rows[1:]:
        row[at] = _written(datetime.fromisoformat(row[at]), writing)
    write_csv(path, rows)


def _written(at: datetime, writing: str) -> str:
    return at.strftime(writing.replace("%s", str(int(at.replace(tzinfo=UTC).timestamp()))))


def _recased(rng: random.Random, name: str) -> str:
    return rng.choice([name.upper(), name.title(), f" {name}", f"{name} "])


def _mapped(rng: random.Random, path: Path) -> None:
    """Write the files as a shop does, with the restock.toml that maps them."""
    header, *rows = read_csv(path)
    names = {name: f"{rng.choice(['Shop', 'Kassen', 'No.'])} {name[::-1]}" for name in header}
    writing, delimiter = rng.choice(_WRITINGS[8:11]), rng.choice(";|\t")
    at, order = header.index("ordered_at"), header.index("order_id")
    seen: set[str] = set()
    for row in rows:
        row[at] = _written(datetime.fromisoformat(row[at]), writing)
        if row[order] in seen and rng.random() < 0.5:  # as on the later lines of an order
            row[at] = row[header.index("user_id")] = ""
        seen.add(row[order])
    path.unlink()
    products = read_csv(path.with_name("products.csv"))
    products[0][0] = names["product_id"]
    files = {"Export 1.csv": [[n.upper() for n in names.values()], *rows], "products.csv": products}
    for file_name, lines in files.items():
        with path.with_name(file_name).open("w", encoding="utf-16", newline="") as file:
            csv.writer(file, delimiter=delimiter).writerows(lines)
    entries = [f'{name} = "{names[name]}"' for name in header if name != "ordered_at"]
    entries.append(f'ordered_at = {{name = "{names["ordered_at"]}", format = "{writing}"}}')
    reading = f"order_lines = 'Export*.csv'\ndelimiter = {delimiter!r}\nencoding = 'utf-16'\n"
    reading = reading.replace("'\\t'", '"\\t"')
    toml = f"[reading]\n{reading}[columns]\n" + "\n".join(entries)
    path.with_name("restock.toml").write_text(toml, encoding="utf-8")


# Times that one value of a file may have, and what they mean; None if that cannot be known.
ODD_TIMES = {
    "2024/03/05 10:11:12": datetime(2024, 3, 5, 10, 11, 12),
    "20240305T101112": datetime(2024, 3, 5, 10, 11, 12),
    "20240305": datetime(2024, 3, 5),
    "2024-03-05 10:11:12,25": datetime(2024, 3, 5, 10, 11, 12, 250_000),
    "2024.03.05 10:11": datetime(2024, 3, 5, 10, 11),
    "2024-03-05 10:11:12 +0100": None,  # the other times have no offset
    "2024-03-05 10:11 PM": None,
    "2024-03-05 24:00:00": None,
    "2024-13-05": None,
    "20241305": None,
    "03/05/2024": None,
    "05.03.24": None,
    "1711900000": None,
    "45382.75": None,
    "2024-3-5": None,
    "2024-W10-2": None,
}


CSV_DAMAGES: dict[str, Damage] = {
    "one byte flipped": _flip(1),
    "five bytes flipped": _flip(5),
    "a byte lost": _bytes(lambda rng, data: _without(rng, data, 1)),
    "a byte too many": _insert(*(bytes([b]) for b in b"\0\t \"',;\\0-.e\xff")),
    "cut in a line": _bytes(lambda rng, data: data[: rng.randrange(len(data))]),
    "cut between lines": _rows(lambda rng, rows: rows[: rng.randrange(1, len(rows))]),
    "start lost": _bytes(lambda rng, data: data[rng.randrange(1, len(data)) :]),
    "a block lost": _bytes(lambda rng, data: _without(rng, data, rng.randrange(1, 200))),
    "a row lost": _rows(lambda rng, rows: [rows[0], *_all_but_one(rng, rows[1:])]),
    "a row doubled": _rows(_duplicated_row),
    "rows shuffled": _rows(_shuffled),
    "header lost": _rows(lambda rng, rows: rows[1:]),
    "header doubled": _rows(lambda rng, rows: [rows[0], *rows]),
    "a value lost from a row": _rows(_cut_row),
    "columns moved": _columns(lambda rng, order: rng.sample(order, len(order))),
    "a column lost": _columns(lambda rng, order: _all_but_one(rng, order)),
    "a column doubled": _columns(lambda rng, order: [*order, rng.choice(order)]),
    "a column more": _rows(lambda rng, rows: [[*row, str(i)] for i, row in enumerate(rows)]),
    "a name changed": _header(lambda rng, names: [*names[:-1], rng.choice(["", "Order_ID", "x"])]),
    "names exchanged": _header(lambda rng, names: rng.sample(names, len(names))),
    "Latin-1": _recoded("latin-1"),
    "UTF-16": _recoded("utf-16"),
    "UTF-8 with a mark": _recoded("utf-8-sig"),
    "a quote too many": _insert(b'"', b',"', b'"\n', b'""'),
    "all quoted": _all_quoted,
    "CRLF": _bytes(lambda rng, data: data.replace(b"\n", b"\r\n")),
    "CR": _bytes(lambda rng, data: data.replace(b"\n", b"\r")),
    "line ends mixed": _bytes(_some_line_ends),
    "a blank line": _insert(b"\n", b"\n\n", b"\r\n"),
    "no last line end": _bytes(lambda rng, data: data[:-1]),
    "blank lines at the end": _bytes(lambda rng, data: data + b"\n\n"),
    "null": _value("", "NULL", "NaN", "\\N", "None", " ", "nan"),
    "a huge number": _value("9" * 19, "9" * 40, "1e308", "1e999", "inf", "32768", "2147483648"),
    "a negative number": _value("-1", "-0", "-9223372036854775808", "-9223372036854775809"),
    "an odd number": _value(
        "1.5", "1.0", "1e3", "+1", "007", " 7", "7 ", "1_0", "0x10", "1,5", "٣"
    ),
    "an odd date": _value(
        "0001-01-01", "9999-12-31", "2024-02-30", "01/02/2024", "infinity", "epoch"
    ),
    "semicolons": _bytes(lambda rng, data: data.replace(b",", b";")),
    "tabs": _bytes(lambda rng, data: data.replace(b",", b"\t")),
    "empty": _bytes(lambda rng, data: b""),
    "header alone": _rows(lambda rng, rows: rows[:1]),
    "zeros": _bytes(lambda rng, data: bytes(len(data))),
    "noise": _bytes(lambda rng, data: rng.randbytes(len(data))),
    "missing": lambda rng, path: path.unlink(),
    "a folder in its place": _folder_instead,
    "gzip": _packed(cut=False, archive=False),
    "zip": _packed(cut=False, archive=True),
    "gzip cut": _packed(cut=True, archive=False),
    "zip cut": _packed(cut=True, archive=True),
    "gzip or zip flipped": _packed_flipped,
    "plain and gzip": _twice,
    "an odd id": _value(
        *("A1\u00a0", "\u2003A1", "A1\u200b", "\ufeffA1", "5,90123E+12", "1.234.567", "1,234,567"),
        *("'5901", '="001"', "0001", "12,0", "A 1"),
        of="_id",
    ),
    "an odd time": _lines(_value(*ODD_TIMES, of="ordered_at")),
}

# Other ways to write the same: what is accepted must land like the undamaged folder.
SAME: dict[str, Damage] = {
    "bz2, xz or zst": _compressed(cut=False),
    "bz2, xz or zst cut": _compressed(cut=True),
    "tar": _tarred(cut=False),
    "tar cut": _tarred(cut=True),
    "in a folder": _in_a_folder,
    "in upper case": _in_upper_case,
    "in parts": _in_parts,
    "beside a broken zip": _beside_a_broken_zip,
    "times written otherwise": _lines(_times_otherwise),
    "names in another case": _header(lambda rng, names: [_recased(rng, name) for name in names]),
    "a mapping": _lines(_mapped),
}
CSV_DAMAGES |= SAME
ORDER_LOG_ONLY = ("an odd time", "times written otherwise", "a mapping")


def _table(change: Callable[[random.Random, pa.Table], pa.Table]) -> Damage:
    def damage(rng: random.Random, path: Path) -> None:
        _write_parquet(path, change(rng, pq.read_table(path)))

    return damage


def _cast(column: str, *types: pa.DataType) -> Damage:
    def change(rng: random.Random, table: pa.Table) -> pa.Table:
        at = table.column_names.index(column)
        return table.set_column(at, column, table[column].cast(rng.choice(types)))

    return _table(change)


def _null_in(rng: random.Random, table: pa.Table) -> pa.Table:
    at, row = rng.randrange(table.num_columns), rng.randrange(table.num_rows)
    values = table.column(at).to_pylist()
    values[row] = None
    field = table.schema.field(at)
    return table.set_column(at, field, pa.array(values, field.type))


PARQUET_DAMAGES: dict[str, Damage] = {
    "parquet: one byte flipped": _flip(1),
    "parquet: five bytes flipped": _flip(5),
    "parquet: cut": CSV_DAMAGES["cut in a line"],
    "parquet: a block lost": CSV_DAMAGES["a block lost"],
    "parquet: empty": CSV_DAMAGES["empty"],
    "parquet: noise": CSV_DAMAGES["noise"],
    "parquet: no rows": _table(lambda rng, table: table.slice(0, 0)),
    "parquet: a column lost": _table(
        lambda rng, table: table.select(_all_but_one(rng, table.column_names))
    ),
    "parquet: columns moved": _table(
        lambda rng, table: table.select(rng.sample(table.column_names, table.num_columns))
    ),
    "parquet: a row doubled": _table(lambda rng, table: pa.concat_tables([table, table[-1:]])),
    "parquet: null": _table(_null_in),
    "parquet: ids of another type": _cast("order_id", pa.float64(), pa.string(), pa.int16()),
    "parquet: times of another type": _cast(
        "ordered_at",
        pa.int64(),
        pa.date32(),
        pa.string(),
        pa.timestamp("ns"),
        pa.timestamp("s", "UTC"),
    ),
}


def _damage(rng: random.Random, damage: Damage, name: str, folder: Path) -> None:
    damage(rng, folder / name)


def variants(raw_dir: Path, seed: int) -> Iterator[tuple[str, Callable[[Path], None]]]:
    """Yield a kind of damage and a function that applies it to a copy of `raw_dir`, endlessly.

    The kinds take turns, each on a random file. The same seed gives the same cases.
    """
    names = sorted(path.name for path in raw_dir.iterdir())
    for round_ in range(sys.maxsize):
        for suffix, damages in ((".csv", CSV_DAMAGES), (".parquet", PARQUET_DAMAGES)):
            fitting = [name for name in names if name.endswith(suffix)]
            for kind, damage in damages.items() if fitting else ():
                if kind in ORDER_LOG_ONLY and "order_lines.csv" not in names:
                    continue
                # Seed with the kind's name, so that a new kind does not change the other cases.
                rng = random.Random(f"{seed} {round_} {kind} {raw_dir.name}")
                yield kind, partial(_damage, rng, damage, rng.choice(fitting))


# --- the check for lost rows ----------------------------------------------------------------------


def _raw_rows(folder: Path, name: str) -> list[dict[str, str | None]]:
    """Read a csv (plain, .gz or .zip) independently of `ml.sources`; "" becomes None."""
    plain, packed, archive = (folder / (name + suffix) for suffix in ("", ".gz", ".zip"))
    if plain.exists():
        data = plain.read_bytes()
    elif packed.exists():
        data = gzip.decompress(packed.read_bytes())
    else:
        with zipfile.ZipFile(archive) as members:
            data = members.read(members.namelist()[0])
    text = data.decode("utf-8-sig", errors="replace")  # Other columns need not be UTF-8.
    header, *rows = filter(None, csv.reader(io.StringIO(text, newline="")))
    # An exact name wins over one in another case.
    header = [n if n.lower().strip() in header else n.lower().strip() for n in header]
    return [{n: v or None for n, v in zip(header, row, strict=False)} for row in rows]


def _raw_parquet_rows(path: Path) -> list[dict[str, str | None]]:
    return [
        {name: None if value is None else str(value) for name, value in row.items()}
        for row in pq.read_table(path).to_pylist()
    ]


def _unquoted(text: str | None) -> str | None:
    """Remove quotes after a leading blank, as DuckDB does and Python's csv reader does not."""
    if not text or not text.startswith(' "'):
        return text
    return next(csv.reader([text], skipinitialspace=True))[0]


def _clock(text: str | None) -> datetime | None:
    """Return the time on the clock that wrote it, without its offset."""
    if text in ODD_TIMES:
        return ODD_TIMES[text]
    try:
        return datetime.fromisoformat(text or "").replace(tzinfo=None)
    except ValueError:
        return None


def _units(text: str | None) -> Decimal | None:
    return Decimal(text).quantize(Decimal("0.0001")) if text else None


def purchases(rows: list[dict[str, str | None]]) -> list[dict[str, str | None]]:
    """Return the rows that are purchases, with the units that are left of each.

    The latest purchases of a shopper and product are a stack, from which a return takes units.
    """
    stacks: dict[tuple[str | None, str | None], list[int]] = defaultdict(list)
    units = [_units(row.get("quantity")) for row in rows]
    left = [Decimal(1) if n is None else n for n in units]

    def by_time(at: int) -> tuple[datetime, bool, int]:
        time = _clock(rows[at].get("ordered_at"))
        assert time
        return time, left[at] < 0, at

    for at in sorted(range(len(rows)), key=by_time):
        stack = stacks[rows[at].get("user_id"), rows[at].get("product_id")]
        if left[at] > 0:
            stack.append(at)
            continue
        while left[at] < 0 and stack:
            taken = min(-left[at], left[stack[-1]])
            left[at] += taken
            left[stack[-1]] -= taken
            if left[stack[-1]] == 0:
                stack.pop()
    kept = []
    for row, was, is_left in zip(rows, units, left, strict=True):
        if (was is None or was > 0) and is_left > 0:
            partly = was is not None or is_left != 1
            kept.append({**row, "quantity": str(is_left) if partly else None})
    return kept


def _is_id(text: str) -> bool:
    """Return whether nobody would doubt that a text is an id as it was meant."""
    ends = {unicodedata.category(char)[0] for char in (text[0], text[-1])}
    changed = r"-?\d+[.,]0+|-?\d+([.,]\d+)?[eE]\+\d+|-?\d{1,3}([.]\d{3}){2,}|-?\d{1,3}(,\d{3}){2,}"
    return not (ends & {"Z", "C"} or re.fullmatch(changed, text, re.ASCII))


def lost_rows(source: str, raw_dir: Path, landing_dir: Path) -> int:
    """Count the raw rows that did not land unchanged and in order."""
    lost = 0
    if source == "instacart":
        files = {
            "orders": ["orders"],
            "order_products": ["order_products__prior", "order_products__train"],
            "products": ["products"],
            "aisles": ["aisles"],
            "departments": ["departments"],
        }
    else:
        files = {"order_lines": ["order_lines"], "products": ["products"]}
    for table, stems in files.items():
        raw: list[dict[str, str | None]] = []
        for stem in stems:
            if (raw_dir / f"{stem}.parquet").exists():
                raw += _raw_parquet_rows(raw_dir / f"{stem}.parquet")
            elif any(raw_dir.glob(f"{stem}.csv*")):
                raw += _raw_rows(raw_dir, f"{stem}.csv")
        if table == "order_lines":
            raw = purchases(raw)
        rows = pq.read_table(landing_dir / f"{table}.parquet").to_pylist()
        lost += abs(len(raw) - len(rows))
        lost += sum(not _same(before, after) for before, after in zip(raw, rows, strict=False))
    return lost + _share_no_product(landing_dir)


def _share_no_product(landing_dir: Path) -> bool:
    """Return whether the order lines and the catalogue have no product in common."""
    bought, listed = (
        set(pq.read_table(path)["product_id"].to_pylist()) if path.exists() else set()
        for path in (landing_dir / f"{name}.parquet" for name in ("order_lines", "products"))
    )
    return bool(bought and listed) and bought.isdisjoint(listed)


def _same(raw: dict[str, str | None], landed: dict[str, Any]) -> bool:
    for name, value in landed.items():
        text = raw.get(name)
        if name in ("is_timed", "part"):
            continue
        if isinstance(value, datetime):
            same = _clock(text) == value
        elif isinstance(value, Decimal):
            same = _units(text) == value
        elif isinstance(value, float):
            same = float(text or "nan") == value
        elif name.endswith("_id"):
            same = str(value) in (text, _unquoted(text)) and _is_id(str(value))
        elif isinstance(value, int):  # a count: 8, 08 or 8.0
            written = re.fullmatch(r"(\d+)(\.0+)?", _unquoted(text) or "", re.ASCII)
            same = written is not None and int(written[1]) == value
        else:
            same = (None if value is None else str(value)) in (text, _unquoted(text))
        if not same:
            return False
    return True


# --- the run --------------------------------------------------------------------------------------


@dataclass
class Tally:
    """The number of cases of one kind of damage, by outcome."""

    tried: int = 0
    accepted: int = 0
    refused: int = 0
    lost: int = 0
    failed: int = 0


def _reading(raw_dir: Path) -> Reading:
    toml = raw_dir / "restock.toml"
    tables = tomllib.loads(toml.read_text(encoding="utf-8")) if toml.exists() else {}
    return Reading.from_toml(tables.get("reading", {}), tables.get("columns", {}))


def try_one(source: str, raw_dir: Path, landing_dir: Path, tally: Tally, right: Path) -> str:
    """Land one damaged folder, count the outcome, and return the error, or "" if it landed.

    `right` has the rows that must land: the damaged folder, or the undamaged one.
    """
    tally.tried += 1
    try:
        land(source, raw_dir, landing_dir, threads=1, reading=_reading(raw_dir))
    except SourceError as error:
        tally.refused += 1
        if not error.file or landing_dir.exists():
            tally.failed += 1
            return f"FAILED: the error names no file, or files were left behind: {error}"
        return str(error)
    except Exception as error:  # Any other error is a bug.
        tally.failed += 1
        return f"FAILED: {type(error).__name__}: {error}"
    tally.accepted += 1
    lost = lost_rows(source, right, landing_dir)
    tally.lost += lost
    return f"FAILED: {lost} rows lost or wrong" if lost else ""


def run(cases: int, seed: int, *, verbose: bool = False) -> dict[str, Tally]:
    """Land this many damaged folders, taking the four kinds of folder in turn."""
    tallies: dict[str, Tally] = defaultdict(Tally)
    with tempfile.TemporaryDirectory() as scratch:
        bases = [
            ("instacart", write_instacart(Path(scratch) / "instacart")),
            ("order_log", write_order_log(Path(scratch) / "order_log")),
            ("order_log", write_order_log_parquet(Path(scratch) / "order_log_parquet")),
            ("order_log", write_order_log_with_returns(Path(scratch) / "order_log_with_returns")),
        ]
        endless = [(source, base, variants(base, seed)) for source, base in bases]
        turns = (turn for _ in range(cases) for turn in endless)
        for number, (source, base, kinds) in enumerate(islice(turns, cases)):
            kind, damage = next(kinds)
            raw_dir, landing_dir = (Path(scratch) / f"{what}{number}" for what in ("raw", "landed"))
            shutil.copytree(base, raw_dir)
            damage(raw_dir)
            right = base if kind in SAME else raw_dir
            outcome = try_one(source, raw_dir, landing_dir, tallies[kind], right)
            if verbose or outcome.startswith("FAILED"):
                print(f"{base.name} | {kind} | {outcome or 'landed'}", file=sys.stderr)
            shutil.rmtree(raw_dir)
            shutil.rmtree(landing_dir, ignore_errors=True)
    return tallies


def main() -> int:
    """Land the damaged folders, print the table, and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, default=300, help="damaged folders to try (300)")
    parser.add_argument("--seed", type=int, default=7, help="seed of the damage (7)")
    parser.add_argument("--verbose", action="store_true", help="print the outcome of every case")
    arguments = parser.parse_args()
    tallies = run(arguments.cases, arguments.seed, verbose=arguments.verbose)
    total = Tally(*(sum(column) for column in zip(*map(_counts, tallies.values()), strict=True)))
    print("| damage | tried | accepted | refused | rows wrong | failed |")
    print("| --- | --- | --- | --- | --- | --- |")
    for kind, tally in [*sorted(tallies.items()), ("**all**", total)]:
        print("| " + " | ".join(map(str, (kind, *_counts(tally)))) + " |")
    return int(bool(total.lost or total.failed))


def _counts(tally: Tally) -> tuple[int, int, int, int, int]:
    return tally.tried, tally.accepted, tally.refused, tally.lost, tally.failed


if __name__ == "__main__":
    sys.exit(main())
