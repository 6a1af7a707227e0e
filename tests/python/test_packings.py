"""Raw files are read in every usual packing; if one is missing, the error lists what is there."""

from __future__ import annotations

import bz2
import gzip
import lzma
import shutil
import tarfile
import zipfile
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fuzz_sources import (
    lost_rows,
    read_csv,
    write_csv,
    write_instacart,
    write_order_log,
    write_xlsx,
)

from ml.sources import Intake, SourceError, land
from ml.sources.packings import COMPRESSED

pytestmark = pytest.mark.slow

Pack = Callable[[Path], Any]


def zstd(data: bytes) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, "zstd") as packed:
        packed.write(data)
    return sink.getvalue().to_pybytes()


COMPRESS: dict[str, Callable[[bytes], bytes]] = {
    ".gz": gzip.compress,
    ".bz2": bz2.compress,
    ".xz": lzma.compress,
    ".zst": zstd,
}


def compressed(suffix: str) -> Pack:
    def pack(raw: Path) -> None:
        for path in list(raw.iterdir()):
            packed = COMPRESS[suffix.lower()](path.read_bytes())
            raw.joinpath(path.name + suffix).write_bytes(packed)
            path.unlink()

    return pack


def tarred(suffix: str, name: str = "instacart_online_grocery_shopping_2017_05_01") -> Pack:
    def pack(raw: Path) -> None:
        target = raw / "data.tar"
        with tarfile.open(target, "w") as archive:
            for path in sorted(raw.glob("*.csv")):
                archive.add(path, f"instacart_2017_05_01/{path.name}")
                archive.addfile(tarfile.TarInfo(f"instacart_2017_05_01/._{path.name}"))
                path.unlink()
        inner = {"": "", ".tgz": ".gz", ".tar": ""}.get(suffix, suffix.removeprefix(".tar"))
        data = target.read_bytes()
        target.unlink()
        raw.joinpath(name + suffix).write_bytes(COMPRESS[inner](data) if inner else data)

    return pack


def zipped(each: bool, folder: str = "", nested: bool = False) -> Pack:
    def pack(raw: Path) -> None:
        paths = sorted(raw.glob("*.csv"))
        for path in paths if each or nested else ():
            with zipfile.ZipFile(f"{path}.zip", "w", zipfile.ZIP_DEFLATED) as archive:
                archive.write(path, path.name)
            path.unlink()
        if each:
            return
        with zipfile.ZipFile(raw / "archive.zip", "w", zipfile.ZIP_DEFLATED) as archive:
            for path in sorted(raw.glob("*.csv*")):
                archive.write(path, folder + path.name)
                path.unlink()
            archive.writestr("sample_submission.csv.zip", b"not a zip")

    return pack


def moved(folder: str) -> Pack:
    def pack(raw: Path) -> None:
        paths = list(raw.iterdir())
        raw.joinpath(folder).mkdir(parents=True)
        for path in paths:
            path.rename(raw / folder / path.name)

    return pack


def steps(*packs: Pack) -> Pack:
    def pack(raw: Path) -> None:
        for step in packs:
            step(raw)

    return pack


def removed(name: str) -> Pack:
    return lambda raw: raw.joinpath(name).unlink()


def written(name: str, data: bytes) -> Pack:
    return lambda raw: raw.joinpath(name).write_bytes(data)


def copied(name: str, copy: str) -> Pack:
    return lambda raw: shutil.copy(raw / name, raw / copy)


def upper(raw: Path) -> None:
    for path in list(raw.iterdir()):
        path.rename(path.with_name(path.name.upper()))


def each_in_a_folder(raw: Path) -> None:
    for path in list(raw.iterdir()):
        part = path.rename(raw / "part")
        path.mkdir()
        part.rename(path / path.name)


PACKINGS: dict[str, Pack] = {
    **{suffix: compressed(suffix) for suffix in (*COMPRESSED, ".GZ")},
    **{
        f"tar {suffix}": tarred(suffix)
        for suffix in (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".tar.zst")
    },
    "each zipped": zipped(each=True),
    "one zip": zipped(each=False),
    "one zip with a folder": zipped(each=False, folder="instacart/"),
    "zips in a zip": zipped(each=False, nested=True),
    "unzipped into a folder": moved("instacart-market-basket-analysis"),
    "two folders deep": moved("downloads/instacart_2017_05_01"),
    "each unzipped into a folder": each_in_a_folder,
    "zipped in a folder": steps(zipped(each=True), moved("kaggle")),
    "upper case": upper,
    "upper case and zipped": steps(zipped(each=True), upper),
}


@pytest.mark.parametrize("packing", PACKINGS)
def test_reads_instacart_in_every_packing(packing: str, tmp_path: Path) -> None:
    raw, plain = write_instacart(tmp_path / "raw"), tmp_path / "plain"
    shutil.copytree(raw, plain)
    PACKINGS[packing](raw)
    landing = tmp_path / "landing"
    intake = land("instacart", raw, landing)
    assert lost_rows("instacart", plain, landing) == 0
    assert [file.rows for file in intake.files] == [
        len(read_csv(plain / f"{name}.csv")) - 1
        for name in (
            *("orders", "order_products__prior", "order_products__train"),
            *("products", "aisles", "departments"),
        )
    ]
    assert notes_on_files(intake) == []


def monthly(raw: Path) -> None:
    header, *rows = read_csv(raw / "order_lines.csv")
    for month, part in enumerate((rows[:70], rows[70:150], rows[150:]), 1):
        write_csv(raw / f"order_lines_2023-{month:02}.csv", [header, *part])
    raw.joinpath("order_lines.csv").unlink()


def by_spark(name: str, kind: str = "parquet") -> Pack:
    def pack(raw: Path) -> None:
        header, *rows = read_csv(raw / "order_lines.csv")
        raw.joinpath("order_lines.csv").unlink()
        folder = raw / name
        folder.mkdir()
        folder.joinpath("_SUCCESS").touch()
        for number, part in enumerate((rows[:70], [], rows[70:], [])):
            path = folder / f"part-{number:05}-57fc.c000.snappy.{kind}"
            path.with_name(f".{path.name}.crc").write_bytes(b"crc")
            if kind == "csv":
                write_csv(path, [header, *part])
                continue
            columns = dict(zip(header, zip(*part, strict=True) if part else [[]] * 5, strict=True))
            types = dict.fromkeys(header, pa.string())
            types |= {"order_id": pa.int64(), "product_id": pa.int64()}
            columns |= {n: [int(value) for value in columns[n]] for n in ("order_id", "product_id")}
            columns |= {"cart_position": [value or None for value in columns["cart_position"]]}
            arrays = {n: pa.array(list(values), types[n]) for n, values in columns.items()}
            pq.write_table(pa.table(arrays), path)

    return pack


LOG_PACKINGS: dict[str, Pack] = {
    "monthly files": monthly,
    "monthly files, zipped": steps(monthly, zipped(each=True)),
    "monthly files in a zip": steps(monthly, zipped(each=False)),
    "monthly files in a tar": steps(monthly, tarred(".tar.gz", "export")),
    "monthly files in a folder": steps(monthly, moved("order_lines")),
    "Spark's folder": by_spark("order_lines.parquet"),
    "Spark's folder without a suffix": by_spark("order_lines"),
    "Spark's folder of csv": by_spark("order_lines.csv", "csv"),
    "an unrelated broken zip": written("photos.zip", b"PK\3\4broken"),
}


def notes_on_files(intake: Intake) -> list[str]:
    """Return the notes that are not about the clock: the made-up orders are at any hour."""
    return [note for note in intake.notes if "at night" not in note]


@pytest.mark.parametrize("packing", LOG_PACKINGS)
def test_reads_an_order_log_in_every_packing(packing: str, tmp_path: Path) -> None:
    raw, plain = write_order_log(tmp_path / "raw"), tmp_path / "plain"
    shutil.copytree(raw, plain)
    LOG_PACKINGS[packing](raw)
    landing = tmp_path / "landing"
    intake = land("order_log", raw, landing)
    assert lost_rows("order_log", plain, landing) == 0
    expected = "Left out: photos.zip: the archive cannot be unpacked ("
    assert [note[: len(expected)] for note in notes_on_files(intake)] == (
        [expected] if "broken" in packing else []
    )
    assert land("order_log", raw, landing) == intake


def test_does_not_read_what_it_landed(tmp_path: Path) -> None:
    write_order_log(tmp_path)
    land("order_log", tmp_path, tmp_path / "restock.duckdb.landing")
    for name in ("order_lines.csv", "products.csv"):
        tmp_path.joinpath(name).unlink()
    with pytest.raises(SourceError, match="the folder has no raw files"):
        land("order_log", tmp_path, tmp_path / "restock.duckdb.landing")


def test_a_new_part_is_noticed(tmp_path: Path) -> None:
    raw, landing = write_order_log(tmp_path / "raw"), tmp_path / "landing"
    monthly(raw)
    first = land("order_log", raw, landing)
    rows = [["user_id", "order_id", "ordered_at", "product_id", "cart_position"]]
    write_csv(raw / "order_lines_2023-04.csv", [*rows, ["u1", "999", "2024-05-01", "1", "1"]])
    assert len(land("order_log", raw, landing).files) == len(first.files) + 1


# --- what is refused ------------------------------------------------------------------------------


def another_column(raw: Path) -> None:
    monthly(raw)
    path = raw / "order_lines_2023-02.csv"
    rows = read_csv(path)
    write_csv(path, [[*rows[0][:-1], "position"], *rows[1:]])


def an_unfinished_folder(raw: Path) -> None:
    by_spark("order_lines.parquet")(raw)
    raw.joinpath("order_lines.parquet", "_temporary").mkdir()


def an_order_in_two_parts_of_two_shoppers(raw: Path) -> None:
    monthly(raw)
    path = raw / "order_lines_2023-03.csv"
    order = read_csv(raw / "order_lines_2023-01.csv")[1][1]
    rows = read_csv(path)
    rows[3][1] = order
    write_csv(path, rows)


def rewritten(name: str) -> Pack:
    def pack(raw: Path) -> None:
        with zipfile.ZipFile(raw / name, "w") as archive:
            archive.writestr("lines.csv", "a,b\n")

    return pack


def renamed(name: str) -> Pack:
    return lambda raw: raw.joinpath("order_lines.csv").rename(raw / name)


BROKEN_ZIP = b"PK\3\4broken"
FEBRUARY = "order_lines_2023-02.csv"
REFUSED: dict[str, tuple[Pack, list[str]]] = {
    "a part with another column": (
        another_column,
        [
            f"{FEBRUARY}: the columns differ from those of order_lines_2023-01.csv",
            "has also 'position' and lacks 'cart_position'",
        ],
    ),
    "a whole file beside its parts": (
        steps(copied("order_lines.csv", "kept"), monthly, copied("kept", "order_lines.csv")),
        ["there are two order_lines files, order_lines.csv and order_lines_2023-01.csv"],
    ),
    "a part twice": (
        steps(monthly, copied(FEBRUARY, "order_lines_2023-02 (1).csv")),
        ["order_lines_2023-02 (1).csv", FEBRUARY, "are copies of one part"],
    ),
    "a part plain and packed": (
        steps(
            monthly,
            lambda raw: raw.joinpath(f"{FEBRUARY}.gz").write_bytes(
                gzip.compress((raw / FEBRUARY).read_bytes())
            ),
        ),
        [f"{FEBRUARY} and {FEBRUARY}.gz are copies of one part"],
    ),
    "a folder that Spark is still writing": (
        an_unfinished_folder,
        ["order_lines.parquet: Spark has not finished writing this folder"],
    ),
    "an order in two parts": (
        an_order_in_two_parts_of_two_shoppers,
        ["order_lines_2023-03.csv, line 4", "belongs to two shoppers"],
    ),
    "another name": (
        renamed("orders.csv"),
        ["the file is missing; found orders.csv, products.csv", "Add order_lines.parquet or"],
    ),
    "a format that is not read": (renamed("order_lines.7z"), ["missing", "order_lines.7z"]),
    "a broken zip that is needed": (
        steps(removed("order_lines.csv"), written("export.zip", BROKEN_ZIP)),
        ["export.zip: the archive cannot be unpacked"],
    ),
    "a broken zip of the catalogue": (
        steps(removed("products.csv"), written("products.csv.zip", BROKEN_ZIP)),
        ["products.csv.zip: the archive cannot be unpacked"],
    ),
    "a zip of something else": (
        steps(zipped(each=False), rewritten("archive.zip")),
        ["the file is missing; found archive.zip, archive.zip/lines.csv"],
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_names_what_is_wrong_with_the_files(case: str, tmp_path: Path) -> None:
    raw = write_order_log(tmp_path / "raw")
    pack, parts = REFUSED[case]
    pack(raw)
    with pytest.raises(SourceError) as caught:
        land("order_log", raw, tmp_path / "landing")
    for part in parts:
        assert part in str(caught.value)


def test_names_the_files_of_a_folder_without_raw_files(tmp_path: Path) -> None:
    for name in ("orders_export.csv", "photo.jpg"):
        tmp_path.joinpath(name).touch()
    with pytest.raises(SourceError, match=r"no raw files; found orders_export\.csv, photo\.jpg"):
        land("order_log", tmp_path, tmp_path / "landing")


@pytest.mark.parametrize("suffix", [*COMPRESSED, ".tar", ".tar.gz"])
@pytest.mark.parametrize("keep", [0.3, 0.6])
def test_refuses_a_truncated_archive(suffix: str, keep: float, tmp_path: Path) -> None:
    raw = write_instacart(tmp_path / "raw")
    (tarred(suffix) if "tar" in suffix else compressed(suffix))(raw)
    path = max(raw.iterdir(), key=lambda path: path.stat().st_size)
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * keep)])
    with pytest.raises(SourceError, match="cannot be unpacked") as caught:
        land("instacart", raw, tmp_path / "landing")
    assert caught.value.file == path.name


# --- workbooks ------------------------------------------------------------------------------------


def test_says_what_a_workbook_needs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "python_calamine", None)
    tmp_path.joinpath("order_lines.xlsx").write_bytes(b"PK")
    with pytest.raises(SourceError, match=r"pip install 'restock\[xlsx\]'"):
        land("order_log", tmp_path, tmp_path / "landing")


def test_reads_the_first_sheet_of_a_workbook(tmp_path: Path) -> None:
    pytest.importorskip("python_calamine")
    at, later = datetime(2024, 3, 4, 10, 11, 12), datetime(2024, 3, 5, 18)
    rows: list[list[Any]] = [
        ["user_id", "order_id", "ordered_at", "product_id", "cart_position"],
        ["0017", 1, at, 5901234123457, 1],
        [],
        ["0018", 2, later, 5901234123458, None],
    ]
    raw, landing = tmp_path / "raw", tmp_path / "landing"
    raw.mkdir()
    write_xlsx(raw / "order_lines.xlsx", rows)
    land("order_log", raw, landing)
    assert [
        list(row.values())[:6] for row in pq.read_table(landing / "order_lines.parquet").to_pylist()
    ] == [
        ["0017", 1, at, True, 5901234123457, 1],
        ["0018", 2, later, True, 5901234123458, None],
    ]

    rows[3][3] = 59012341234578888
    write_xlsx(raw / "order_lines.xlsx", rows)
    with pytest.raises(SourceError, match="a spreadsheet or a program has changed") as caught:
        land("order_log", raw, landing)
    assert (caught.value.line, caught.value.column) == (4, "product_id")

    raw.joinpath("order_lines.xlsx").write_bytes(b"PK\3\4 broken")
    with pytest.raises(SourceError, match="the workbook cannot be unpacked"):
        land("order_log", raw, landing)
