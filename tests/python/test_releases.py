"""Releases are kept and taken back, versions promoted; a kill leaves nothing half done.

Most tests use made-up releases: a warehouse and a page of one line each, and a model without one.
"""

import itertools
import json
import os
import secrets
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from test_outputs import contents

from ml.errors import RestockError, SettingsError
from ml.jobs.promotion import promote, rollback
from ml.jobs.task import TASKS, Task
from ml.progress import silent
from ml.registry import decisions, outputs, releases, versions
from ml.registry.decisions import Decision
from ml.settings import Settings

ALIASES = ("production", "production-purchase", "production-purchase-week")


class Killed(BaseException):
    """What a step of a killed process raises; no code handles it."""


def version(folder: Path, name: str, task: str = "reorder") -> str:
    """Write a model version, and return its name."""
    digest = f"{sum(map(ord, name)):08x}"
    name = f"{name}-20240101T000000-{digest}"
    (folder / name).mkdir(parents=True)
    (folder / name / "model.joblib").write_text(name)
    card = {
        "model_version": name,
        "task": task,
        "source": "instacart",
        "created_at": f"2024-01-{len(list(folder.glob('*-*T*'))):02}T00:00:00+00:00",
        "sha256": versions._sha256(folder / name / "model.joblib"),
        "metrics": {},
    }
    (folder / name / "model.json").write_text(json.dumps(card))
    return name


def publish(settings: Settings, text: str, models: dict[str, str] | None = None) -> Path:
    """Publish a release with a text as its warehouse and its page.

    With ``models``, by alias, it has trained them; otherwise it has those in production.
    """
    release = releases.next_release(settings)
    work = settings.moved_to(release)
    release.mkdir(parents=True)
    for alias, name in (models or {}).items():
        task = next(task.name for task in TASKS.values() if task.alias == alias)
        versions.promote(work.models, version(work.models, name, task), alias)
    if not models:
        work = settings.moved_to(release)
        work = type(work)(**{**vars(work), "models": settings.models})
    work.warehouse.write_text(text)
    work.dashboards.mkdir()
    (work.dashboards / "index.html").write_text(f"<title>{text} · Restock</title>")
    return releases.publish(release, work, settings)


def served(settings: Settings) -> tuple[str, str, dict[str, str]]:
    """Return what readers see: the warehouse, the page and the models."""
    models = {
        alias: (settings.models / alias / "model.joblib").read_text()
        for alias in ALIASES
        if (settings.models / alias).exists()
    }
    page = (settings.dashboards / "index.html").read_text()
    return settings.warehouse.read_text(), page, models


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    # Releases of one second are in the order of their names.
    numbers = itertools.count()
    monkeypatch.setattr(secrets, "token_hex", lambda size: f"{next(numbers):0{2 * size}x}")
    return Settings.load(warehouse=tmp_path / "w.duckdb", dashboards=tmp_path / "pages")


@pytest.fixture
def three(settings: Settings) -> list[Path]:
    """Three releases: the first two are of the same models."""
    return [
        publish(settings, "one", dict(zip(ALIASES, "apw", strict=True))),
        publish(settings, "two"),
        publish(settings, "three", {"production": "b"}),
    ]


# --- kept releases --------------------------------------------------------------------------------


def test_the_last_releases_are_kept(settings: Settings, three: list[Path]) -> None:
    four = publish(settings, "four", {"production": "c"})
    releases.prune(settings)
    assert releases.kept(settings) == [four, *three[:0:-1]]
    assert served(settings)[:2] == ("four", "<title>four · Restock</title>")


def test_a_release_is_kept_for_as_long_as_the_newer_ones_follow_from_it(
    settings: Settings, three: list[Path]
) -> None:
    """After a rollback, the releases that were taken back are the first to go."""
    rollback(settings, silent, release=three[0].name)
    four = publish(settings, "four")
    releases.prune(settings)
    assert releases.kept(settings) == [four, three[2], three[0]]
    five = publish(settings, "five")
    releases.prune(settings)
    assert releases.kept(settings) == [five, four, three[0]]


def test_an_unfinished_release_is_removed(settings: Settings, three: list[Path]) -> None:
    releases.next_release(settings).mkdir()
    releases.prune(settings)
    assert not releases.next_release(settings).exists()
    assert len(releases.kept(settings)) == 3


def test_a_model_is_removed_with_the_last_release_that_names_it(
    settings: Settings, three: list[Path]
) -> None:
    one = {path.name for path in releases.models(three[0]).values()}
    settings = Settings.load(
        warehouse=settings.warehouse, dashboards=settings.dashboards, keep_releases=1
    )
    spare = [version(settings.models, f"spare_{task}", task) for task in TASKS]
    releases.prune(settings)
    left = {card["model_version"] for card in versions.known(settings.models)}
    # One candidate of each task stays.
    assert left == {path.name for path in releases.models(three[2]).values()} | set(spare)
    assert not left & one


def test_no_release_is_kept_without_the_published_one() -> None:
    with pytest.raises(SettingsError, match="keep_releases '0'"):
        Settings.load(keep_releases=0)


def test_a_workspace_may_lie_behind_a_link(tmp_path: Path) -> None:
    """Links are relative, and the folder that the link leads to lies deeper."""
    (tmp_path / "deep" / "er").mkdir(parents=True)
    place = tmp_path / "place"
    place.symlink_to("deep/er")
    settings = Settings.load(
        warehouse=place / "w.duckdb", dashboards=place / "pages", keep_releases=2
    )
    one = publish(settings, "one", {"production": "a"})
    publish(settings, "two")
    rollback(settings, silent)
    releases.prune(settings)
    assert served(settings)[0] == "one" and releases.published(settings) == one
    publish(settings, "three")
    releases.prune(settings)
    assert served(settings)[0] == "three" and one in releases.kept(settings)
    outputs.check(settings)


def test_a_model_that_a_recent_decision_names_stays(settings: Settings, three: list[Path]) -> None:
    names = [version(settings.models, f"refused_{number}") for number in range(10)]
    decisions.append(
        settings, [Decision("reorder", decisions.REFUSED, challenger=name) for name in names]
    )
    # Those of runs without a challenger name none.
    decisions.append(settings, [Decision("all", decisions.KEPT) for _ in range(20)])
    for name in ("new", "newer", "newest"):
        version(settings.models, name)
    releases.prune(settings)
    left = {card["model_version"] for card in versions.known(settings.models)}
    assert left >= set(names[-decisions._NAMED :]) and not left & set(names[: -decisions._NAMED])


# --- rollback -------------------------------------------------------------------------------------


def test_rollback_restores_warehouse_models_and_pages(
    settings: Settings, three: list[Path]
) -> None:
    rollback(settings, silent)
    two = ("two", "<title>two · Restock</title>")
    models = {
        alias: path.name for alias, path in releases.models(three[0]).items()
    }  # the second release has those of the first
    assert served(settings) == (*two, models)
    assert releases.held(settings)
    outputs.check(settings)


def test_the_releases_taken_back_are_those_after_the_published_one(
    settings: Settings, three: list[Path]
) -> None:
    """Their outcomes are not lost: the next run adds them, and from then on its release has all."""
    assert releases.taken_back(settings) == []
    rollback(settings, silent, release=three[0].name)
    assert [path.read_text() for path in releases.taken_back(settings)] == ["three", "two"]
    publish(settings, "four")
    assert releases.taken_back(settings) == []


def test_a_second_rollback_goes_back_further(settings: Settings, three: list[Path]) -> None:
    rollback(settings, silent)
    rollback(settings, silent)
    assert releases.published(settings) == three[0]
    with pytest.raises(SettingsError, match=r"before .* is not on disk"):
        rollback(settings, silent)
    rollback(settings, silent, release=three[2].name)
    assert served(settings)[0] == "three"


def test_rollback_after_a_run_passes_over_the_releases_taken_back(
    settings: Settings, three: list[Path]
) -> None:
    rollback(settings, silent, release=three[0].name)
    publish(settings, "four")
    assert releases.held(settings), "a run does not end the hold"
    rollback(settings, silent)
    assert releases.published(settings) == three[0]


def test_rollback_replaces_pages_and_models_of_steps_run_alone(
    settings: Settings, three: list[Path]
) -> None:
    promote(settings, silent, version=version(settings.models, "c"))
    drawn = outputs.new_pages(settings.dashboards)
    drawn.mkdir()
    (drawn / "index.html").write_text("<title>drawn alone · Restock</title>")
    outputs.publish_pages(settings.dashboards, drawn)
    assert releases.waiting(settings) == ["production"]
    rollback(settings, silent)
    assert releases.waiting(settings) == []
    warehouse, page, models = served(settings)
    assert (warehouse, page) == ("two", "<title>two · Restock</title>")
    assert models["production"].startswith("a-")


@pytest.mark.parametrize("lost", ["w.duckdb", "pages", "model", "production version"])
def test_rollback_refuses_a_release_that_is_not_whole(
    lost: str, settings: Settings, three: list[Path]
) -> None:
    place = three[1] / lost
    if lost == "production version":
        shutil.rmtree(releases.models(three[1])["production"])
    elif place.is_dir() and not place.is_symlink():
        shutil.rmtree(place)
    else:
        place.unlink()
    before = contents(settings.warehouse.parent)
    with pytest.raises(RestockError, match=r"is not whole: .* is missing"):
        rollback(settings, silent)
    assert contents(settings.warehouse.parent) == before


def test_rollback_refuses_what_it_does_not_know(settings: Settings, three: list[Path]) -> None:
    with pytest.raises(SettingsError, match="there is no release next"):
        rollback(settings, silent, release="next")
    with pytest.raises(SettingsError, match="is the published release already"):
        rollback(settings, silent, release=three[2].name)


def test_rollback_needs_a_release(settings: Settings) -> None:
    with pytest.raises(RestockError, match="restock run"):
        rollback(settings, silent)


# --- promotion ------------------------------------------------------------------------------------


def test_a_promoted_version_serves_from_the_next_release_on(
    settings: Settings, three: list[Path]
) -> None:
    name = version(settings.models, "c")
    promote(settings, silent, version=name)
    assert versions.production(settings.models).name == name
    assert releases.waiting(settings) == ["production"]
    assert releases.models(three[2])["production"].name != name
    outputs.check(settings)
    four = publish(settings, "four")
    assert releases.waiting(settings) == []
    assert releases.models(four)["production"].name == name


@pytest.mark.parametrize("task", TASKS.values(), ids=list(TASKS))
def test_a_version_knows_its_task(task: Task, settings: Settings, three: list[Path]) -> None:
    name = version(settings.models, "q", task.name)
    promote(settings, silent, version=name)
    assert versions.production(settings.models, task.alias).name == name
    assert releases.waiting(settings) == [task.alias]


def test_promote_ends_a_hold(settings: Settings, three: list[Path]) -> None:
    rollback(settings, silent)
    promote(settings, silent)
    assert releases.held(settings) is None
    with pytest.raises(SettingsError, match="Name the version"):
        promote(settings, silent)


@pytest.mark.parametrize("damage", [lambda file: file.unlink(), lambda file: file.write_text("")])
def test_promote_refuses_a_damaged_version(
    damage: Callable[[Path], object], settings: Settings, three: list[Path]
) -> None:
    name = version(settings.models, "c")
    damage(settings.models / name / "model.joblib")
    with pytest.raises(RestockError, match="does not match the sha256"):
        promote(settings, silent, version=name)
    with pytest.raises(RestockError, match="has no model version other"):
        promote(settings, silent, version="other")
    assert releases.waiting(settings) == []


def test_what_a_user_decides_is_recorded(settings: Settings, three: list[Path]) -> None:
    """A rollback does not take back its own record."""
    serving = versions.production(settings.models).name
    name = version(settings.models, "c")
    promote(settings, silent, version=name)
    rollback(settings, silent, release=three[0].name)
    promote(settings, silent)
    first = releases.models(three[0])["production"].name
    assert [
        (each.decided_by, each.task, each.decision, each.champion, each.challenger)
        for each in decisions.read(settings)
    ] == [
        ("user", "reorder", "promoted", serving, name),
        ("user", "all", "rolled back", name, first),
        ("user", "all", "hold lifted", first, None),
    ]
    assert decisions.challenge(settings, "reorder") is None
    outputs.check(settings)


# --- kills ----------------------------------------------------------------------------------------

_CHANGES = {"os.rename", "os.symlink", "os.remove", "os.mkdir", "os.rmdir", "os.link"}
_kill_at: int | None = None


def _kill(event: str, arguments: tuple[Any, ...]) -> None:
    """Count down the changes to the file system, then stop this one and all that follow."""
    global _kill_at
    if _kill_at is None:
        return
    writes = event == "open" and arguments[2] & (os.O_WRONLY | os.O_RDWR)
    if event in _CHANGES or writes:
        _kill_at -= 1
        if _kill_at < 0:
            raise Killed


sys.addaudithook(_kill)


def is_killed(change: int, command: Callable[[], object]) -> bool:
    """Run a command that dies just before its n-th change to the file system, if it has so many."""
    global _kill_at
    _kill_at = change
    try:
        command()
    except Killed:
        return True
    finally:
        _kill_at = None
    return False


COMMANDS: dict[str, Callable[[Settings], object]] = {
    "rollback": lambda settings: rollback(settings, silent),
    "end the hold": lambda settings: promote(settings, silent),
    "promote": lambda settings: promote(
        settings, silent, version=next(settings.models.glob("spare-*")).name
    ),
    "publish": lambda settings: publish(settings, "four"),
    "publish a new model": lambda settings: publish(settings, "four", {"production": "d"}),
    "prune": releases.prune,
}


@pytest.mark.parametrize("name", COMMANDS)
def test_a_kill_at_any_change_leaves_the_state_before_or_after(
    name: str, settings: Settings, three: list[Path], tmp_path: Path
) -> None:
    if name in ("end the hold", "publish", "prune"):
        rollback(settings, silent)
    if name == "publish":
        promote(settings, silent, version=version(settings.models, "c"))
    version(settings.models, "spare")
    if name == "prune":
        publish(settings, "four", {"production": "d"})
    base = tmp_path.with_name(f"{tmp_path.name}-base")
    shutil.copytree(tmp_path, base, symlinks=True)

    def state() -> tuple[object, ...]:
        return served(settings), releases.held(settings) is None

    before, seen = state(), []
    for change in range(200):
        shutil.rmtree(tmp_path)
        shutil.copytree(base, tmp_path, symlinks=True)
        was_killed = is_killed(change, lambda: COMMANDS[name](settings))
        outputs.check(settings)
        seen.append(state())
        if not was_killed:
            break
        releases.prune(settings)  # as the next run does first
        assert state() == seen[-1]
    assert not was_killed and change > 0
    after = seen[-1]
    assert name == "prune" or after != before
    # Before, before, ... after, after: one change decides.
    switch = seen.index(after)
    assert seen == [before] * switch + [after] * (len(seen) - switch)
