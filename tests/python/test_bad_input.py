"""Every failure ends with one clear message and leaves the published release untouched."""

import hashlib
import json
import re
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import duckdb
import pytest
from conftest import ROOT, Place
from dbt_common.exceptions import DbtRuntimeError

from ml.warehouse.dbt_plugin import Plugin

pytestmark = pytest.mark.slow


def digests(place: Place) -> dict[str, str]:
    """Return the digests of the published files: the warehouse, the production model, the page."""
    files = [place.warehouse, place.folder / "pages" / "index.html"]
    files += sorted((place.model).iterdir())
    return {
        str(path.relative_to(place.folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in files
    }


@pytest.fixture
def good(published: Place, place: Place) -> Place:
    """A place with a published run, which the tests must leave untouched."""
    shutil.copytree(published.folder, place.folder, dirs_exist_ok=True, symlinks=True)
    return place


def refused(place: Place, *arguments: str | Path, code: int, **variables: str) -> str:
    """Run a command that must fail cleanly and change nothing; return its message."""
    before = digests(place)
    done = place.call("restock", *arguments, **variables)
    assert done.returncode == code, done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    (message,) = re.findall(r" ERROR restock[^:]*: (.*)", done.stderr, re.MULTILINE | re.DOTALL)
    assert digests(place) == before
    assert len(list(place.folder.glob("*.releases/*"))) == 1, "unfinished files were left behind"
    return message


Damage = Callable[[Path], object]


def edit(name: str, change: Callable[[list[str]], list[str]]) -> Damage:
    """Change the lines of a file; line 1 is the header."""

    def damage(raw: Path) -> None:
        path = raw / name
        path.write_text("\n".join(change(path.read_text().splitlines())) + "\n")

    return damage


def set_field(name: str, line: int, column: int, value: str) -> Damage:
    def change(lines: list[str]) -> list[str]:
        fields = lines[line - 1].split(",")
        fields[column] = value
        return [*lines[: line - 1], ",".join(fields), *lines[line:]]

    return edit(name, change)


def remove(pattern: str) -> Damage:
    def damage(raw: Path) -> None:
        for path in raw.glob(pattern):
            path.unlink()

    return damage


def truncate(raw: Path) -> None:
    path = raw / "order_products__prior.csv"
    text = path.read_bytes()[: path.stat().st_size // 2]
    # End within a line, as an interrupted download does.
    path.write_bytes(text[: text.rfind(b"\n") + 3])


PRIOR = "order_products__prior.csv"
CASES: dict[str, tuple[Damage, list[str]]] = {
    "folder missing": (shutil.rmtree, ["raw", "orders.csv"]),
    "folder empty": (remove("*"), ["raw", "orders.csv"]),
    "file missing": (remove("aisles.csv"), ["aisles.csv"]),
    "file truncated": (truncate, [PRIOR, "line"]),
    "column misnamed": (
        edit("orders.csv", lambda lines: [lines[0].replace("user_id", "usr_id"), *lines[1:]]),
        ["orders.csv", "user_id", "usr_id"],
    ),
    "wrong type": (set_field("orders.csv", 7, 3, "seven"), ["orders.csv", "line 7", "seven"]),
    "duplicate order": (
        edit("orders.csv", lambda lines: [*lines, lines[1]]),
        ["orders.csv", "order_id", "twice"],
    ),
    "line without order": (set_field(PRIOR, 9, 0, "987654321"), [PRIOR, "line 9", "987654321"]),
    "two orders with one number": (
        set_field("orders.csv", 3, 3, "1"),
        ["orders.csv", "order_number"],
    ),
    "negative days": (
        set_field("orders.csv", 3, 6, "-2.0"),
        ["orders.csv", "line 3", "days_since_prior_order"],
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_rejects_missing_or_malformed_raw_files(
    good: Place, instacart_files: Path, tmp_path: Path, case: str
) -> None:
    damage, names = CASES[case]
    raw = tmp_path / "raw"
    shutil.copytree(instacart_files, raw)
    damage(raw)
    message = refused(good, "run", "--source", "instacart", "--raw-dir", raw, code=3)
    for name in names:
        assert name in message


def write_log(raw: Path, orders: list[tuple[int, int, list[int]]]) -> Path:
    """Write an order log from tuples (shopper, day in January 2024, products)."""
    raw.mkdir()
    rows = [
        f"{user},{user * 100 + day},2024-01-{day:02},{product}"
        for user, day, products in orders
        for product in products
    ]
    (raw / "order_lines.csv").write_text(
        "\n".join(["user_id,order_id,ordered_at,product_id", *rows]) + "\n"
    )
    return raw


def test_keeps_single_order_shoppers_and_products_without_a_catalogue_row(
    place: Place, tmp_path: Path
) -> None:
    """A shopper with one order has no label, and a product may be missing from the catalogue."""
    raw = write_log(
        tmp_path / "raw", [(1, day, [5, 6]) for day in range(1, 9)] + [(2, 3, [5]), (2, 3, [7])]
    )
    (raw / "products.csv").write_text(
        "product_id,product_name,aisle,department\n5,Milk,Milk,Dairy\n6,Bread,Bread,Bakery\n"
    )
    place.restock("build", "--source", "order_log", "--raw-dir", raw)
    assert place.query(
        "select product_name, aisle, is_in_catalogue from dim_products where product_id = 7"
    ) == [("Unknown product 7", "unknown", False)]
    assert place.query("select cutoff from targets where user_id = 2") == [(0,)]
    assert place.query("select product_id from examples where user_id = 2 order by 1") == [
        (5,),
        (7,),
    ]


def test_rejects_data_that_no_model_can_be_trained_on(good: Place, tmp_path: Path) -> None:
    raw = write_log(
        tmp_path / "raw",
        [(user, day, [5, 6]) for user in range(1, 100) for day in range(1, 9)],
    )
    message = refused(good, "run", "--source", "order_log", "--raw-dir", raw, code=1)
    assert "have the label" in message


def test_rejects_an_unknown_source(good: Place) -> None:
    assert "instacart" in refused(good, "run", "--source", "instcart", code=2)
    assert "instacart" in refused(good, "build", code=2, RESTOCK_SOURCE="instcart")


def test_rejects_a_malformed_scoring_date(good: Place) -> None:
    assert "2018-01-02" in refused(good, "run", code=2, RESTOCK_AS_OF="tomorrow")


def test_rejects_a_scoring_date_before_the_newest_order(good: Place, tmp_path: Path) -> None:
    raw = write_log(tmp_path / "raw", [(1, day, [5, 6]) for day in range(1, 9)])
    arguments = ("run", "--source", "order_log", "--raw-dir", raw)
    message = refused(good, *arguments, code=2, RESTOCK_AS_OF="2024-01-05")
    assert "earlier than the newest order (2024-01-08)" in message


def test_a_single_step_also_checks_the_raw_files(good: Place, tmp_path: Path) -> None:
    arguments = ("build", "--source", "order_log", "--raw-dir", tmp_path / "nowhere")
    assert "the folder does not exist" in refused(good, *arguments, code=3)


def test_plain_dbt_reports_missing_raw_files(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """dbt prints an error of this class without a traceback, see `test_outputs.py`."""
    monkeypatch.setenv("RESTOCK_WAREHOUSE", str(place.warehouse))
    monkeypatch.setenv("RESTOCK_RAW_DIR", str(place.folder / "nowhere"))
    with pytest.raises(DbtRuntimeError, match="nowhere: the folder does not exist"):
        Plugin("restock", {})


def test_report_rejects_tables_of_an_interrupted_score(good: Place) -> None:
    with duckdb.connect(str(good.warehouse)) as con:
        con.execute("update ml.batches set finished_at = finished_at + interval 1 hour")
    assert "Run `restock score`" in refused(good, "report", "--source", "instacart", code=1)


def test_rejects_an_unknown_model(good: Place, instacart_files: Path) -> None:
    message = refused(good, "train", "--source", "instacart", "--model", "gradient_bosting", code=2)
    assert "gradient_boosting" in message


def test_model_of_other_features(good: Place, instacart_files: Path) -> None:
    """The model expects a feature that `examples` lacks, as after a column was renamed."""
    path = good.model / "model.json"
    card = json.loads(path.read_text())
    card["features"][0]["name"] = "user_colour"
    path.write_text(json.dumps(card))
    assert "user_colour" in refused(good, "score", "--source", "instacart", code=1)


def test_rejects_a_model_with_another_feature_type_or_digest(good: Place) -> None:
    path = good.model / "model.json"
    original = path.read_text()
    card = json.loads(original)
    card["features"][0]["dtype"] = "varchar"
    path.write_text(json.dumps(card))
    assert "user_order_count" in refused(good, "score", "--source", "instacart", code=1)
    path.write_text(original)
    with path.with_name("model.joblib").open("ab") as file:
        file.write(b"x")
    assert "sha256" in refused(good, "score", "--source", "instacart", code=1)


@contextmanager
def other_process(code: str) -> Iterator[None]:
    """Run code in another process that stays alive until the context ends."""
    with subprocess.Popen(
        [sys.executable, "-c", f"{code}; print('ready', flush=True); input()"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "ready\n"
        yield
        other.communicate("\n")


def test_rejects_a_warehouse_that_is_open_in_another_process(
    good: Place, instacart_files: Path
) -> None:
    with other_process(f"import duckdb; con = duckdb.connect({str(good.warehouse)!r})"):
        for command in ("run", "score"):
            arguments = ("--source", "instacart", "--raw-dir", instacart_files)
            message = refused(good, command, *arguments, code=4)
            assert "open in another process" in message


def test_rejects_a_second_run_at_the_same_time(good: Place, instacart_files: Path) -> None:
    lock = f"{good.warehouse}.lock"
    with other_process(f"import fcntl; file = open({lock!r}, 'a'); fcntl.flock(file, 2)"):
        message = refused(good, "run", "--source", "instacart", code=4)
        assert "another restock job" in message


def test_a_failed_dbt_test_is_named_on_stderr_and_in_the_log(
    good: Place, instacart_files: Path
) -> None:
    with duckdb.connect(str(good.warehouse)) as con:
        con.execute("insert into ml.calibration_bins from ml.calibration_bins")
    arguments = ("--source", "instacart", "--raw-dir", instacart_files)
    done = good.call("restock", "score", *arguments)
    assert done.returncode == 1
    assert "dbt failed: unique_key_rpt_reliability" in done.stderr
    assert "unique_key_rpt_reliability" in (good.folder / "logs" / "dbt.log").read_text()


def test_reports_a_read_only_directory(instacart_files: Path, tmp_path: Path) -> None:
    """Not even root can create files in /proc."""
    done = Place(tmp_path).call(
        "restock",
        *("run", "--source", "instacart", "--raw-dir", str(instacart_files)),
        RESTOCK_WAREHOUSE="/proc/restock/restock.duckdb",
    )
    assert done.returncode == 5, done.stderr
    assert "/proc/restock" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("megabytes", [1, 3, 8])
def test_reports_a_full_disk(good: Place, instacart_files: Path, megabytes: int) -> None:
    """A file size limit has the effect of a full disk, each limit at another step."""
    before = digests(good)
    done = subprocess.run(
        [
            str(Path(sys.executable).with_name("restock")),
            *("run", "--source", "instacart", "--raw-dir", str(instacart_files)),
        ],
        cwd=ROOT,
        env=good.environment,
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=lambda: resource.setrlimit(
            resource.RLIMIT_FSIZE, (megabytes * 2**20, megabytes * 2**20)
        ),
    )
    assert done.returncode == 5, done.stderr
    assert "Traceback" not in done.stderr
    assert "disk is full" in done.stderr
    assert digests(good) == before
    assert len(list(good.folder.glob("*.releases/*"))) == 1
