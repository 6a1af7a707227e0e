"""Restock writes over nothing it did not create, reads what a folder holds, and can be copied."""

import contextlib
import gzip
import json
import os
import shutil
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path

import duckdb
import pytest
from conftest import ROOT, Place
from dbt_common.exceptions import DbtRuntimeError

from ml import sources
from ml.errors import RestockError, SettingsError
from ml.jobs.export import export
from ml.jobs.steps import STEPS
from ml.registry import outputs
from ml.registry.links import replace_link
from ml.settings import Settings
from ml.warehouse.dbt_plugin import Plugin

pytestmark = pytest.mark.slow

Make = Callable[[Path], object]


def contents(folder: Path) -> dict[str, bytes | str]:
    """Return every file, folder and link below a folder, with the bytes or the target of each."""
    return {
        str(path.relative_to(folder)): (
            str(path.readlink()) if path.is_symlink()
            else path.read_bytes() if path.is_file() else "folder"
        )
        for path in sorted(folder.rglob("*"))
    }  # fmt: skip


def write(text: str) -> Make:
    def make(path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    return make


def tables(*statements: str) -> Make:
    def make(path: Path) -> None:
        with duckdb.connect(str(path)) as con:
            for sql in statements:
                con.execute(sql)

    return make


def link_to(target: str) -> Make:
    def make(path: Path) -> None:
        write("theirs")(path.parent / target / "file")
        path.symlink_to(target)

    return make


def refused(
    place: Place, *arguments: str | Path, code: int, program: str = "restock", **variables: str
) -> str:
    """Run a command that must fail cleanly and write nothing; return its message."""
    written = ("logs", "target") if program == "dbt" else ()

    def others() -> dict[str, bytes | str]:
        found = contents(place.folder)
        return {path: found[path] for path in found if not path.startswith(written)}

    before = others()
    done = place.call(program, *arguments, **variables)
    assert done.returncode == code, done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    assert others() == before
    return done.stderr if program == "restock" else done.stdout


def check_paths(settings: Settings) -> None:
    """Check the paths as every command that reads orders does before any work."""
    settings.check_paths()
    outputs.check(settings)
    sources.check_landing(settings.landing)


@pytest.fixture
def plain_dbt(place: Place, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """Return a function that starts the plugin of a plain dbt in this process.

    The plugin must refuse the variables and write nothing. The function returns its message.
    """

    def refused(**variables: str) -> str:
        raw = str(order_log(place.folder / "raw"))
        own = {WAREHOUSE: str(place.warehouse), "RESTOCK_SOURCE": "order_log"}
        for name, value in (own | {"RESTOCK_RAW_DIR": raw} | variables).items():
            monkeypatch.setenv(name, value)
        before = contents(place.folder)
        with pytest.raises(DbtRuntimeError) as caught:
            Plugin("restock", {})
        assert contents(place.folder) == before
        return str(caught.value)

    return refused


def order_log(raw: Path, days: int = 20, shoppers: int = 4, start: str = "2024-01-01") -> Path:
    """Write an order log with one line per shopper and day."""
    raw.mkdir(parents=True, exist_ok=True)
    first = date.fromisoformat(start)
    rows = [
        f"{shopper},{shopper * 1000 + day},{first + timedelta(day)},{day % 3}"
        for shopper in range(shoppers)
        for day in range(days)
    ]
    header = "user_id,order_id,ordered_at,product_id"
    (raw / "order_lines.csv").write_text("\n".join([header, *rows]) + "\n")
    return raw


# --- output paths ---------------------------------------------------------------------------------

NOTES = write("mine")
CRM = tables("create table customers as select 1 as id")
WAREHOUSE, DASHBOARDS = "RESTOCK_WAREHOUSE", "RESTOCK_DASHBOARDS"

# What is there before, below the place, and the variable that the message names.
FOREIGN: dict[str, tuple[str, Make, str]] = {
    "a site": ("pages/index.html", NOTES, DASHBOARDS),
    "a site with one page of ours": (
        "pages/blog/first.html", write("<title>Overview · Mine</title>"), DASHBOARDS
    ),
    "a folder of downloads": ("pages/downloads/mine.csv", NOTES, DASHBOARDS),
    "a file for the pages": ("pages", NOTES, DASHBOARDS),
    "a link for the pages": ("pages", link_to("www"), DASHBOARDS),
    "another database": ("restock.duckdb", CRM, WAREHOUSE),
    "a database with another ml.batches": (
        "restock.duckdb",
        tables("create schema ml", "create table ml.batches as select 1 as batch_id"),
        WAREHOUSE,
    ),
    "a text file for the warehouse": ("restock.duckdb", NOTES, WAREHOUSE),
    "an empty file for the warehouse": ("restock.duckdb", write(""), WAREHOUSE),
    "a folder for the warehouse": ("restock.duckdb/notes.txt", NOTES, WAREHOUSE),
    "a link for the warehouse": ("restock.duckdb", link_to("elsewhere"), WAREHOUSE),
    "a log without its database": ("restock.duckdb.wal", NOTES, WAREHOUSE),
    "a lock file": ("restock.duckdb.lock", NOTES, WAREHOUSE),
    "releases": ("restock.duckdb.releases/notes.txt", NOTES, WAREHOUSE),
    "a release": ("restock.duckdb.releases/v2/notes.txt", NOTES, WAREHOUSE),
    "a next release": ("restock.duckdb.releases/next/notes.txt", NOTES, WAREHOUSE),
    "a current folder": ("restock.duckdb.current/notes.txt", NOTES, WAREHOUSE),
    "a current link": ("restock.duckdb.current", link_to("v2"), WAREHOUSE),
    "a landing folder": ("restock.duckdb.landing/notes.txt", NOTES, "RESTOCK_LANDING"),
    "a new landing folder": ("restock.duckdb.landing.new/notes.txt", NOTES, "RESTOCK_LANDING"),
    "an old landing folder": ("restock.duckdb.landing.old/notes.txt", NOTES, "RESTOCK_LANDING"),
    "models": ("restock.duckdb.models/notes.txt", NOTES, "RESTOCK_MODELS"),
    "a production folder": ("restock.duckdb.models/production/notes.txt", NOTES, "RESTOCK_MODELS"),
    "a saving folder": ("restock.duckdb.models/.saving/notes.txt", NOTES, "RESTOCK_MODELS"),
}  # fmt: skip


def foreign(case: str, place: Place) -> None:
    """Make what Restock did not create."""
    where, make, _ = FOREIGN[case]
    path = place.folder / where
    path.parent.mkdir(parents=True, exist_ok=True)
    make(path)


@pytest.mark.parametrize("case", FOREIGN)
def test_refuses_a_path_with_something_else(case: str, place: Place) -> None:
    """Every command checks the paths first: see the next test."""
    where, _, variable = FOREIGN[case]
    foreign(case, place)
    before = contents(place.folder)
    with pytest.raises(SettingsError) as caught:
        check_paths(place.settings())
    assert str(place.folder / where.split("/")[0]) in str(caught.value)
    assert variable in str(caught.value)
    assert contents(place.folder) == before


@pytest.mark.parametrize("step", [*STEPS, "run"])
def test_every_step_refuses_another_database(step: str, place: Place) -> None:
    CRM(place.warehouse)
    raw = order_log(place.folder / "raw")
    assert WAREHOUSE in refused(place, step, "--raw-dir", raw, code=2)


@pytest.mark.parametrize(
    "case", ["another database", "a text file for the warehouse", "a folder for the warehouse"]
)
def test_the_plugin_of_plain_dbt_refuses_another_database(
    case: str, place: Place, plain_dbt: Callable[..., str]
) -> None:
    foreign(case, place)
    assert WAREHOUSE in plain_dbt()


def test_plain_dbt_refuses_another_database_and_a_path_below_a_file(place: Place) -> None:
    """The plugin refuses, before dbt opens the warehouse. Tests without dbt cover the rest."""
    CRM(place.warehouse)
    raw = str(order_log(place.folder / "raw"))
    variables = {"RESTOCK_SOURCE": "order_log", "RESTOCK_RAW_DIR": raw}
    for path in (place.warehouse, place.warehouse / "restock.duckdb"):
        variables[WAREHOUSE] = str(path)
        assert WAREHOUSE in refused(place, "build", program="dbt", code=2, **variables)


def test_accepts_an_empty_database_and_an_empty_folder(place: Place) -> None:
    tables()(place.warehouse)
    (place.folder / "pages").mkdir()
    raw = order_log(place.folder / "raw")
    assert place.restock("fetch", "--raw-dir", raw)["fetch"]["rows"] == 80


@pytest.mark.parametrize("card", ["README.md", "README", "model_card.md"])
def test_a_model_card_replaces_no_other_file(card: str, place: Place) -> None:
    write("mine")(place.folder / "README.md")
    write('{"mine": 1}')(place.folder / "model_card" / "instacart.reorder.json")
    done = place.call(
        *("restock", "evaluate", "--folds", "2", "--card", place.folder / card),
        RESTOCK_SOURCE="instacart",
    )
    assert done.returncode == 2 and "--card" in done.stderr
    assert (place.folder / "README.md").read_text() == "mine"
    assert (place.folder / "model_card" / "instacart.reorder.json").read_text() == '{"mine": 1}'


def test_a_link_replaces_no_folder(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(IsADirectoryError):
        replace_link(tmp_path / "folder", tmp_path / "target")
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]


def test_report_replaces_its_own_pages_only(published: Place, place: Place) -> None:
    """Pages that were copied as plain files carry the mark; so does an empty folder."""
    shutil.copytree(published.folder, place.folder, dirs_exist_ok=True, symlinks=True)
    pages = place.folder / "pages"
    backup = place.folder / ".pages-backup" / "index.html"
    write("mine")(backup)
    pages.unlink()
    for make in (lambda: shutil.copytree(published.folder / "pages", pages), pages.mkdir):
        make()
        place.restock("report", "--source", "instacart")
        assert pages.is_symlink() and (pages / "index.html").exists()
        pages.unlink()
    assert backup.read_text() == "mine"
    assert len(list(place.folder.glob(".pages-*"))) == 2
    shutil.copytree(published.folder / "pages", pages)
    write("mine")(pages / "blog" / "first.html")
    assert DASHBOARDS in refused(place, "report", "--source", "instacart", code=2)


# --- the source of a folder -----------------------------------------------------------------------


def packed_log(raw: Path) -> None:
    log = order_log(raw) / "order_lines.csv"
    (raw / "order_lines.csv.gz").write_bytes(gzip.compress(log.read_bytes()))
    log.unlink()


def zipped_instacart(raw: Path) -> None:
    raw.mkdir()
    with zipfile.ZipFile(raw / "download.zip", "w") as archive:
        for name in ("orders", "order_products__prior", "products"):
            archive.writestr(f"instacart/{name}.csv", "order_id\n")


@pytest.mark.parametrize("make", [order_log, packed_log], ids=["csv", "gz"])
def test_reads_the_source_of_the_files(make: Make, place: Place) -> None:
    raw = place.folder / "raw"
    make(raw)
    before = contents(raw)
    for flags, variables in ((("--raw-dir", raw), {}), ((), {"RESTOCK_RAW_DIR": str(raw)})):
        assert place.restock("fetch", *flags, **variables)["fetch"]["rows"] == 80
        landing = place.folder / "restock.duckdb.landing"
        assert json.loads((landing / "intake.json").read_text())["intake"]["source"] == "order_log"
        assert contents(raw) == before
        shutil.rmtree(landing)


def test_reads_instacart_without_a_source(place: Place, instacart_files: Path) -> None:
    found = place.restock("fetch", "--raw-dir", instacart_files)["fetch"]["files"]
    assert "order_products__prior.csv" in found


@pytest.mark.parametrize(
    ("make", "code", "says"),
    [
        (lambda raw: None, 3, "does not exist"),
        (lambda raw: raw.mkdir(), 3, "it has nothing"),
        (lambda raw: write("id\n1\n")(raw / "export.csv"), 3, "it has export.csv"),
        (zipped_instacart, 3, "order_products__train.csv"),
        (
            lambda raw: (order_log(raw), write("x")(raw / "ORDER_PRODUCTS__PRIOR.CSV")),
            2,
            "--source",
        ),
        (lambda raw: write("mine")(raw), 2, "is not a folder"),
    ],
    ids=["missing", "empty", "unknown", "incomplete", "both", "a file"],
)
def test_says_what_a_folder_lacks(make: Make, code: int, says: str, place: Place) -> None:
    raw = place.folder / "raw"
    make(raw)
    before = contents(place.folder)
    done = place.call("restock", "run", "--raw-dir", raw)
    assert done.returncode == code, done.stderr
    assert says in done.stderr and str(raw) in done.stderr + str(raw)
    after = contents(place.folder)
    assert {path: after[path] for path in before} == before
    assert not place.warehouse.exists()


def test_the_demo_is_only_written_to_its_own_folder(place: Place) -> None:
    home, raw = place.folder / "home", place.folder / "raw"
    demo = ("fetch", "--source", "complete_journey", "--raw-dir", raw)
    assert str(home / "data/raw/complete_journey") in (
        place.call("restock", *demo, RESTOCK_HOME=str(home)).stderr
    )
    assert not raw.exists()
    order_log(raw)
    before = contents(raw)
    place.restock(*demo, RESTOCK_HOME=str(home))
    assert contents(raw) == before
    # Not even there beside the user's orders: its products are those of another shop.
    own = order_log(home / "data" / "raw" / "complete_journey")
    before = contents(own)
    assert place.restock("fetch", RESTOCK_HOME=str(home))["fetch"]["rows"] == 80
    assert contents(own) == before


def test_plain_dbt_names_the_variable_to_set(
    instacart_files: Path, plain_dbt: Callable[..., str]
) -> None:
    before = contents(instacart_files)
    said = plain_dbt(RESTOCK_SOURCE="", RESTOCK_RAW_DIR=str(instacart_files))
    assert "RESTOCK_SOURCE=instacart" in said
    assert contents(instacart_files) == before


# --- export ---------------------------------------------------------------------------------------


def exported(folder: Path) -> str:
    """Check that a copy is whole, and return its batch."""
    assert {path.name for path in folder.iterdir()} == {"restock.duckdb", "model", "pages"}
    assert not any(path.is_symlink() for path in folder.rglob("*"))
    with duckdb.connect(str(folder / "restock.duckdb"), read_only=True) as con:
        ((batch, version),) = con.execute(
            "select batch_id, model_version from ml.batches order by started_at desc limit 1"
        ).fetchall()
        assert con.execute("select distinct batch_id from fct_predictions").fetchall() == [(batch,)]
    assert json.loads((folder / "model" / "model.json").read_text())["model_version"] == version
    assert batch in (folder / "pages" / "index.html").read_text()
    return batch


def test_export_copies_the_release_as_plain_files(published: Place, place: Place) -> None:
    shutil.copytree(published.folder, place.folder, dirs_exist_ok=True, symlinks=True)
    copy = place.folder / "backups" / "copy"
    done = place.call("restock", "export", "--out", copy)
    assert done.returncode == 0, done.stderr
    exported(copy)
    assert (copy / "restock.duckdb").read_bytes() == place.warehouse.read_bytes()
    # Any copying tool can move the copy on.
    subprocess.run(["cp", "-a", copy, place.folder / "moved"], check=True)
    shutil.rmtree(copy)
    exported(place.folder / "moved")
    assert "not empty" in refused(place, "export", "--out", place.folder / "moved", code=2)
    file = place.folder / "moved" / "model" / "model.json"
    for out in (file, file / "below"):
        assert "is not a folder" in refused(place, "export", "--out", out, code=2)


def test_export_copies_what_readers_see_after_a_killed_step(published: Place, place: Place) -> None:
    """A killed writer leaves transactions in a log beside the warehouse."""
    shutil.copytree(published.folder, place.folder, dirs_exist_ok=True, symlinks=True)
    with duckdb.connect(str(place.warehouse)):
        busy = place.call("restock", "export", "--out", place.folder / "copy")
    assert busy.returncode == 4 and "open in another process" in busy.stderr
    assert not (place.folder / "copy").exists()
    code = (
        f"import duckdb, os; con = duckdb.connect({str(place.warehouse)!r});"
        "con.execute(\"insert into ml.metrics (run_id) values ('last')\"); os.kill(os.getpid(), 9)"
    )
    subprocess.run([sys.executable, "-c", code], check=False)
    place.restock("export", "--out", place.folder / "copy")
    metrics = "select count(*) from ml.metrics where run_id = 'last'"
    assert place.query(metrics) == [(1,)]
    with duckdb.connect(str(place.folder / "copy" / "restock.duckdb"), read_only=True) as con:
        assert con.execute(metrics).fetchall() == [(1,)]


def test_export_needs_a_release(place: Place) -> None:
    assert "restock run" in refused(place, "export", "--out", place.folder / "copy", code=1)


def test_export_copies_one_release_while_a_run_publishes(published: Place, place: Place) -> None:
    """The second release appears, and the first is deleted, in the middle of the copy."""
    shutil.copytree(published.folder, place.folder, dirs_exist_ok=True, symlinks=True)
    (release,) = place.folder.glob("*.releases/*")
    other = release.with_name("0" * 8)
    shutil.copytree(release, other, symlinks=True)
    with duckdb.connect(str(other / "restock.duckdb")) as con:
        con.execute("update ml.batches set batch_id = 'other'")
        con.execute("update ml.predictions set batch_id = 'other'")
    page = other / "pages" / "index.html"
    page.write_text(page.read_text() + "<!-- other -->")

    def progress(what: str, done: int, total: int) -> None:
        if done == total // 2 and release.exists():
            replace_link(place.folder / "restock.duckdb.current", other)
            shutil.rmtree(release)

    settings = Settings.load(warehouse=place.warehouse, dashboards=place.folder / "pages")
    export(settings, progress, out=place.folder / "copy")
    assert exported(place.folder / "copy") == "other"

    def fail(what: str, done: int, total: int) -> None:
        raise RestockError("stop")

    before = contents(place.folder)
    with pytest.raises(RestockError, match="stop"):
        export(settings, fail, out=place.folder / "second")
    assert contents(place.folder) == before


# --- deliveries -----------------------------------------------------------------------------------


def delivered(place: Place, lines: int, shoppers: int, oldest: str, newest: str) -> None:
    """Create a warehouse that records a delivery of an order log without events."""
    record = (
        f"('order_log', {lines}, {shoppers}, date '{oldest}', date '{newest}', now()::timestamp)"
    )
    tables(
        "create schema ml",
        "create table ml.batches (batch_id int, model_version int, feature_version int)",
        "create table ml.deliveries (source varchar, line_count bigint, shopper_count bigint, "
        "oldest_order date, newest_order date, recorded_at timestamp)",
        f"insert into ml.deliveries values {record}",
    )(place.warehouse)


@pytest.mark.parametrize(
    ("before", "says"),
    [
        ((80, 4, "2024-01-01", "2024-01-20"), ""),
        ((84, 4, "2024-01-01", "2024-01-20"), ""),
        ((85, 4, "2024-01-01", "2024-01-20"), "80 order lines instead of 85 (-5.9%)"),
        ((80, 5, "2024-01-01", "2024-01-20"), "4 shoppers instead of 5 (-20.0%)"),
        ((80, 4, "2023-01-01", "2024-02-07"), ""),
        ((80, 4, "2023-01-01", "2024-03-20"), "newest order 2024-01-20 instead of 2024-03-20"),
    ],
)
def test_refuses_a_delivery_that_shrank(
    before: tuple[int, int, str, str], says: str, place: Place
) -> None:
    delivered(place, *before)
    arguments = ("fetch", "--raw-dir", order_log(place.folder / "raw"))
    done = place.call("restock", *arguments)
    assert done.returncode == (3 if says else 0), done.stderr
    assert says in done.stderr
    if says:
        assert "--accept-drop" in done.stderr
        place.restock(*arguments, "--accept-drop")


def events_of(raw: Path, last: str, count: int = 20) -> None:
    """Write an event log with an event a day, up to a day."""
    days = [date.fromisoformat(last) - timedelta(ago) for ago in range(count)]
    rows = [f"1,{day} 09:30:00,view" for day in days]
    (raw / "events.csv").write_text("\n".join(["user_id,occurred_at,event_type", *rows]) + "\n")


@pytest.mark.parametrize(
    ("last", "count", "says"),
    [
        ("2024-01-20", 20, ""),
        ("2024-01-20", 18, "18 events instead of 20 (-10.0%)"),
        ("2024-01-18", 20, "newest event 2024-01-18 instead of 2024-01-20"),
        ("", 0, "0 events instead of 20 (-100.0%)"),
    ],
)
def test_refuses_events_that_shrank(last: str, count: int, says: str, place: Place) -> None:
    raw = order_log(place.folder / "raw")
    delivered(place, 80, 4, "2024-01-01", "2024-01-20")
    tables(
        "create or replace table ml.deliveries as select *, 20 as event_count, "
        "oldest_order as oldest_event, newest_order as newest_event from ml.deliveries",
    )(place.warehouse)
    if count:
        events_of(raw, last, count)
    done = place.call("restock", "fetch", "--raw-dir", raw)
    assert done.returncode == (3 if says else 0), done.stderr
    assert says in done.stderr


def test_rejects_a_scoring_date_before_the_newest_event(place: Place) -> None:
    raw = order_log(place.folder / "raw")
    events_of(raw, "2024-01-25")
    fetch = ("fetch", "--raw-dir", raw)
    done = place.call("restock", *fetch, RESTOCK_AS_OF="2024-01-24")
    assert done.returncode == 2, done.stderr
    assert "earlier than the newest event (2024-01-25)" in done.stderr
    place.restock(*fetch, RESTOCK_AS_OF="2024-01-25")


def test_compares_with_no_other_source_and_no_older_warehouse(
    place: Place, instacart_files: Path
) -> None:
    delivered(place, 10**9, 10**6, "2024-01-01", "2030-01-20")
    place.restock("fetch", "--raw-dir", instacart_files)
    tables("drop table ml.deliveries")(place.warehouse)
    place.restock("fetch", "--raw-dir", order_log(place.folder / "raw"))


def test_a_run_on_a_truncated_file_publishes_nothing(
    published: Place, place: Place, instacart_files: Path
) -> None:
    """The file is cut at the end of a line, between two shoppers."""
    shutil.copytree(published.folder, place.folder, dirs_exist_ok=True, symlinks=True)
    raw = place.folder / "raw"
    raw.mkdir()
    for path in instacart_files.glob("*.csv"):
        shutil.copy(path, raw)
    orders = f"read_csv('{raw}/orders.csv', all_varchar = true)"
    kept = f"select * from {orders} where user_id::int <= 280"
    rows = {
        name: duckdb.execute(
            f"select * from read_csv('{raw}/{name}.csv', all_varchar = true) "
            f"semi join ({kept}) using (order_id)"
        ).fetchall()
        for name in ("order_products__prior", "order_products__train")
    }
    rows["orders"] = duckdb.execute(kept).fetchall()
    for name, lines in rows.items():
        header = (raw / f"{name}.csv").read_text().splitlines()[0]
        text = "\n".join([header, *(",".join(value or "" for value in line) for line in lines)])
        (raw / f"{name}.csv").write_text(text + "\n")
    before = place.warehouse.readlink(), place.warehouse.resolve()
    done = place.call("restock", "run", "--raw-dir", raw)
    assert done.returncode == 3, done.stderr
    assert "280 shoppers instead of 300 (-6.7%)" in done.stderr
    assert (place.warehouse.readlink(), place.warehouse.resolve()) == before
    last = place.restock("status")["last_run"]
    assert last["outcome"] == "failed" and "280 shoppers instead of 300" in last["error"]
    place.restock("run", "--raw-dir", raw, "--accept-drop")
    assert place.query(
        "select shopper_count from ml.deliveries order by recorded_at"
    ) == [(300,), (280,)]  # fmt: skip
    place.restock("run", "--raw-dir", raw)


def test_refuses_a_file_that_changes_while_it_is_read(place: Place) -> None:
    raw = order_log(place.folder / "raw")
    stop = threading.Event()

    def grow() -> None:
        while not stop.is_set():
            with contextlib.suppress(FileNotFoundError):
                os.utime(raw / "order_lines.csv")
            time.sleep(0.001)

    writer = threading.Thread(target=grow)
    writer.start()
    try:
        done = place.call("restock", "fetch", "--raw-dir", raw)
    finally:
        stop.set()
        writer.join()
    assert done.returncode == 3, done.stderr
    assert "order_lines.csv: the file changed while it was read" in done.stderr
    assert not (place.folder / "restock.duckdb.landing").exists()


@pytest.mark.parametrize(
    ("settings", "code", "says"),
    [
        ("warn_after = 5\nerror_after = 20", 0, ""),
        ("warn_after = 5", 0, "the newest order is 11 days old"),
        ("warn_after = 5\nerror_after = 10", 3, "error_after (RESTOCK_ERROR_AFTER) allows 10"),
        ("warn_after = 'x'", 2, "invalid warn_after"),
    ],
)
def test_tells_how_old_the_newest_order_is(
    settings: str, code: int, says: str, place: Place
) -> None:
    age = 11 if says else 3
    start = date.today() - timedelta(19 + age)
    write(settings)(place.folder / "restock.toml")
    done = place.call(
        *("restock", "fetch", "--raw-dir", order_log(place.folder / "raw", start=str(start))),
        RESTOCK_HOME=str(place.folder),
    )
    assert done.returncode == code, done.stderr
    assert says in done.stderr and (says or "days old" not in done.stderr)


def test_tells_how_old_the_newest_event_is(place: Place) -> None:
    start = date.today() - timedelta(22)
    raw = order_log(place.folder / "raw", start=str(start))
    events_of(raw, str(start))
    notes = place.restock("fetch", "--raw-dir", raw, RESTOCK_WARN_AFTER="5")["fetch"]["notes"]
    assert [note for note in notes if "days old" in note] == [
        f"the newest event is 22 days old ({start}); warn_after is 5"
    ]


def test_a_variable_sets_the_age_and_orders_without_dates_have_none(
    place: Place, instacart_files: Path
) -> None:
    old = ("fetch", "--raw-dir", order_log(place.folder / "raw"))
    assert "allows 30" in place.call("restock", *old, RESTOCK_ERROR_AFTER="30").stderr
    done = place.restock("fetch", "--raw-dir", instacart_files, RESTOCK_ERROR_AFTER="30")
    assert done["fetch"]["notes"] == ["freshness was not checked: the orders have no dates"]


# --- paths of the wrong kind, and misspelt variables ----------------------------------------------


@pytest.mark.parametrize(
    ("variable", "path"),
    [
        ("RESTOCK_HOME", "file"),
        ("RESTOCK_HOME", "file/below"),
        ("RESTOCK_RAW_DIR", "file"),
        ("RESTOCK_WAREHOUSE", "folder"),
        ("RESTOCK_WAREHOUSE", "file"),
        ("RESTOCK_WAREHOUSE", "file/restock.duckdb"),
        ("RESTOCK_LANDING", "file"),
        ("RESTOCK_MODELS", "file"),
        ("RESTOCK_DASHBOARDS", "file/pages"),
    ],
)
def test_refuses_a_path_of_the_wrong_kind(
    variable: str, path: str, place: Place, plain_dbt: Callable[..., str]
) -> None:
    write("mine")(place.folder / "file")
    (place.folder / "folder").mkdir()
    of_dbt = plain_dbt(**{variable: str(place.folder / path)})  # sets the variables
    with pytest.raises(SettingsError) as caught:
        check_paths(Settings.load())
    for message in (of_dbt, str(caught.value)):
        assert variable in message and str(place.folder / path.split("/")[0]) in message


@pytest.mark.parametrize(
    ("name", "meant"),
    [("RESTOCK_WAREHOSE", "RESTOCK_WAREHOUSE"), ("Restock_Raw_Dir", "RESTOCK_RAW_DIR")],
)
def test_refuses_a_misspelt_variable(
    name: str, meant: str, place: Place, plain_dbt: Callable[..., str]
) -> None:
    of_dbt = plain_dbt(**{name: "/elsewhere"})  # sets the variable
    with pytest.raises(SettingsError) as caught:
        Settings.load()
    for message in (of_dbt, str(caught.value)):
        assert f"unknown environment variable {name}: did you mean {meant}?" in message


def test_plain_dbt_uses_the_warehouse_of_the_workspace_from_any_folder(place: Place) -> None:
    """The working folder has a warehouse of its own, which is not touched."""
    clone, elsewhere = place.folder / "clone", place.folder / "elsewhere"
    clone.mkdir()
    for part in ("models", "macros", "seeds", "tests", "ml", "dashboards"):
        shutil.copytree(ROOT / part, clone / part, ignore=shutil.ignore_patterns("__pycache__"))
    for file in ("dbt_project.yml", "profiles.yml", "selectors.yml", "restock.toml"):
        shutil.copy(ROOT / file, clone)
    order_log(clone / "data" / "raw" / "order_log")
    write("mine")(elsewhere / "warehouse" / "restock.duckdb.landing" / "order_lines.parquet")
    before = contents(elsewhere)
    clean = {k: v for k, v in place.environment.items() if not k.startswith(("RESTOCK_", "DBT_"))}
    program = Path(sys.executable).with_name("dbt")
    for folder, options in (
        (elsewhere, ("--project-dir", clone, "--profiles-dir", clone)),
        (clone, ()),
    ):
        done = subprocess.run(
            [program, "run", "--select", "+fct_orders", *options],
            cwd=folder,
            env=clean | {"PYTHONPATH": str(clone), "RESTOCK_SOURCE": "order_log"},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stdout
        with duckdb.connect(str(clone / "warehouse" / "restock.duckdb"), read_only=True) as con:
            orders = con.execute(
                "select count(*) from fct_orders, stg_order_log__orders"
            ).fetchall()
            assert orders == [(80 * 80,)]
    assert contents(elsewhere) == before
