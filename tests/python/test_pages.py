"""No data makes a page fail, and a page that fails costs no scores."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import days
import pytest
import shops
from conftest import ROOT, Once, Place

from dashboards.site import Site
from dashboards.site.links import MAX_PAGES
from ml.jobs.report import PAGES, QUERIES

pytestmark = pytest.mark.slow

NASTY: dict[str, Callable[[Path], Path]] = {
    "aisles": lambda folder: shops.nasty(folder),
    "departments": lambda folder: shops.nasty(folder, aisles=3000, departments=2000),
    "few": lambda folder: shops.nasty(folder, aisles=30, shoppers=12),
}


def nasty(once: Once, name: str) -> Place:
    def run(folder: Path) -> None:
        raw = NASTY[name](folder / "raw")
        Place(folder).restock("run", "--source", "order_log", "--raw-dir", raw)

    return Place(once(f"nasty_{name}", run))


@pytest.mark.parametrize("name", NASTY)
def test_a_nasty_shop_is_scored_and_drawn(once: Once, name: str) -> None:
    place = nasty(once, name)
    pairs = "select count(distinct (user_id, product_id)) from fct_order_items"
    assert place.query("select count(*) from fct_predictions") == place.query(pairs)
    files = [*(place.folder / "pages").rglob("*.html")]
    ((aisles,),) = place.query("select count(distinct aisle) from rpt_aisles")
    assert len(files) == len([*PAGES.glob("*.md")]) + min(aisles, MAX_PAGES)
    texts = [file.read_text() for file in files]
    if name == "few":
        site = Site(PAGES, QUERIES, place.warehouse)
        texts.append(site.build(standalone=True)["standalone.html"])
    for file, text in zip([*files, None], texts, strict=False):
        assert "<script>alert(" not in text and "<b>bold" not in text
        assert file is None or len(text) < 1_500_000, file


def test_tables_are_cut_and_the_rest_is_one_row(once: Once) -> None:
    place = nasty(once, "aisles")
    ((aisles, shoppers, returns),) = place.query(
        "select count(*), sum(shopper_count), sum(past_returns) from (from rpt_aisles order by "
        "risk_rank nulls last, shopper_count desc, department, aisle offset 250)"
    )
    page = (place.folder / "pages" / "aisles.html").read_text()
    foot = page.partition("<tfoot>")[2].partition("</tfoot>")[0]
    for text in (f"and {aisles:,} others", f">{shoppers:,}<", f">{returns:,.1f}<"):
        assert text in foot
    ((aisles,),) = place.query(
        "select count(*) from rpt_demand where level = 'aisle' and units_rank > 250"
    )
    assert f"and {aisles:,} others" in (place.folder / "pages" / "demand.html").read_text()
    ((items,),) = place.query(
        "select basket_item_count from rpt_shoppers where cast(user_id as varchar) = 'bulk'"
    )
    assert items > 4_000
    page = (place.folder / "pages" / "shoppers.html").read_text()
    assert f"and {items - 50:,} others" in page


def test_a_department_with_an_equals_sign_keeps_its_name(once: Once) -> None:
    names = {
        name
        for (name,) in nasty(once, "departments").query(
            "select segment from rpt_model_segments where kind = 'department'"
        )
    }
    assert "department=a=b" in names or "department" not in names
    assert len(names) == 101 and any(name.startswith("the ") for name in names)


PARTS = ("dashboards", "macros", "ml", "models", "seeds", "tests/generic")
FILES = ("dbt_project.yml", "profiles.yml", "selectors.yml", "restock.toml")


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A copy of the project, whose pages a test may break."""
    folder = tmp_path / "project"
    ignore = shutil.ignore_patterns("__pycache__", "build", "builds", ".build-*")
    for part in PARTS:
        shutil.copytree(ROOT / part, folder / part, ignore=ignore)
    for file in FILES:
        shutil.copy2(ROOT / file, folder / file)
    return folder


def restock(project: Path, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("RESTOCK_", "DBT_"))}
    code = "from ml.cli import main; main()"
    return subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        cwd=project,
        env=clean | {"PYTHONPATH": str(project), "COLUMNS": "1000"},
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_page_that_cannot_be_drawn_undoes_no_scores(project: Path) -> None:
    raw = shops.write(project / "raw", shops.standing_orders(80))
    options = ("--source", "order_log", "--raw-dir", raw)
    place = Place(project / "warehouse")
    build = project / "dashboards" / "build"
    aisles, index = (
        project / "dashboards" / "pages" / f"{name}.md" for name in ("aisles", "index")
    )
    good = aisles.read_text()

    aisles.write_text(good + "\n{nobody.knows}\n")
    done = restock(project, "run", *options)
    assert done.returncode == 1
    assert (
        "ERROR restock: the scores are published, but pages could not be drawn:\n  aisles: "
        in done.stderr
    )
    assert "unknown query 'nobody'" in done.stderr and "Traceback" not in done.stderr
    scores = place.query("select batch_id, count(*) from fct_predictions group by 1")
    assert len(scores) == 1
    assert (project / "warehouse" / "models" / "production" / "model.json").exists()
    assert "This page could not be drawn: " in (build / "aisles.html").read_text()
    assert scores[0][0] in (build / "index.html").read_text(), "the others are of this release"

    aisles.write_text(good)
    home = index.read_text()
    index.write_text("no front matter")
    days.age(project / "warehouse" / "models" / "production")
    done = restock(project, "run", *options)
    assert done.returncode == 1 and "index.md:1: no front matter" in done.stderr
    again = place.query("select batch_id, count(*) from fct_predictions group by 1")
    assert again[0][0] != scores[0][0] and again[0][1] == scores[0][1]
    assert [path.name for path in build.iterdir()] == ["index.html"], "no pages of other scores"
    assert "no front matter" in (build / "index.html").read_text()

    index.write_text(home)
    assert restock(project, "report", *options).returncode == 0
    assert again[0][0] in (build / "index.html").read_text()
