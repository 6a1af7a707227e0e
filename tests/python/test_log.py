"""The log of a command, in a file and where there is no terminal."""

import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT, Place

from ml.console import Session

STAMP = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[+-]\d{4}"


def test_a_log_file_grows_by_every_step_and_error(place: Place) -> None:
    log, out = place.folder / "restock.log", place.folder / "shop"
    command = ("simulate", "--shoppers", "5", "--out", out, "--log-file", log)
    done = place.call("restock", *command)
    assert done.returncode == 0
    assert log.read_text() == done.stderr, "without a terminal, both have every line"
    lines = done.stderr.splitlines()
    assert all(re.match(f"{STAMP} INFO restock", line) for line in lines)
    assert re.fullmatch(f"{STAMP} INFO restock.simulate: started", lines[0])
    assert re.match(f"{STAMP} INFO restock.simulate: ✓ simulate +[0-9,]+ rows", lines[1])

    refused = place.call("restock", *command, "--quiet")
    assert refused.returncode == 2
    assert re.match(f"{STAMP} ERROR restock.simulate: .* is not an empty folder", refused.stderr)
    assert refused.stderr.count("\n") == 1
    added = log.read_text().removeprefix(done.stderr).splitlines(keepends=True)
    assert "started" in added[0] and added[1:] == [refused.stderr]


def test_a_terminal_gets_no_time_stamps(place: Place) -> None:
    log = place.folder / "restock.log"
    ours, theirs = pty.openpty()
    done = subprocess.run(
        [Path(sys.executable).with_name("restock"), "promote", "--log-file", log],
        cwd=ROOT, env=place.environment | {"TERM": "dumb"}, stderr=theirs,
    )  # fmt: skip
    assert done.returncode == 2
    said = os.read(ours, 10_000).decode().strip()
    assert said.startswith("error: promotion is not held") and not re.search(STAMP, said)
    assert re.search(f"{STAMP} ERROR restock.promote: promotion is not held", log.read_text())


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("no folder/restock.log", "no such file or directory"),
        ("a folder", "is a directory"),
        ("notes.txt", "not a log of Restock"),
    ],
)
def test_a_log_file_that_cannot_be_written_is_refused_before_any_work(
    name: str, reason: str, place: Place
) -> None:
    (place.folder / "a folder").mkdir()
    (place.folder / "notes.txt").write_text("milk, eggs\n")
    before = sorted(place.folder.iterdir())
    done = place.call("restock", "run", "--log-file", place.folder / name)
    assert done.returncode == 2 and reason in done.stderr and done.stderr.count("\n") == 1
    assert sorted(place.folder.iterdir()) == before
    assert (place.folder / "notes.txt").read_text() == "milk, eggs\n"


def test_a_bug_leaves_its_traceback_in_the_log(tmp_path: Path) -> None:
    log = tmp_path / "restock.log"
    with pytest.raises(ZeroDivisionError), Session(True, False, log).errors():
        1 / 0  # noqa: B018
    first, *rest = log.read_text().splitlines()
    assert re.fullmatch(f"{STAMP} CRITICAL restock: this is a bug in Restock", first)
    assert rest[0].startswith("Traceback") and rest[-1] == "ZeroDivisionError: division by zero"


def test_a_renamed_log_is_opened_again(tmp_path: Path) -> None:
    log, old = tmp_path / "restock.log", tmp_path / "restock.log.1"
    session = Session(True, False, log)
    with session.errors():
        session.say("before")
        log.rename(old)
        session.say("after")
    assert old.read_text().endswith(" before\n") and log.read_text().endswith(" after\n")
