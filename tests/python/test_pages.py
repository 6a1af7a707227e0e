"""No data makes a page fail, and a page that fails costs no scores."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import shops
from conftest import Once, Place

from dashboards.site import Site
from dashboards.site.links import MAX_PAGES
from ml.errors import RestockError
from ml.jobs import report
from ml.jobs.report import PAGES, QUERIES
from ml.jobs.run import run
from ml.jobs.steps import Result, Step
from ml.progress import silent
from ml.settings import Settings

pytestmark = pytest.mark.slow

NASTY: dict[str, Callable[[Path], Path]] = {
    "many": lambda folder: shops.nasty(folder, departments=2000),
    "few": lambda folder: shops.nasty(folder, aisles=30, shoppers=12),
}


def nasty(once: Once, name: str) -> Place:
    def make(folder: Path) -> None:
        raw = NASTY[name](folder / "raw")
        Place(folder).restock("run", "--source", "order_log", "--raw-dir", raw)

    return Place(once(f"nasty_{name}", make))


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
    place = nasty(once, "many")
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
        for (name,) in nasty(once, "many").query(
            "select segment from rpt_model_segments where kind = 'department'"
        )
    }
    assert "department=a=b" in names or "department" not in names
    assert len(names) == 101 and any(name.startswith("the ") for name in names)


def test_a_page_that_cannot_be_drawn_undoes_no_scores(
    published: Place, place: Place, next_day: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(published.folder, place.folder, dirs_exist_ok=True, symlinks=True)
    settings, drawn = place.settings(raw_dir=next_day), place.folder / "pages"
    pages = shutil.copytree(PAGES, place.folder / "markdown")
    monkeypatch.setattr(report, "PAGES", pages)

    def step(_: str, work: Settings, function: Step) -> Result:
        return {**function(work, silent), "seconds": 0}

    def published_scores() -> tuple[str, int]:
        ((batch, count),) = place.query("select batch_id, count(*) from fct_predictions group by 1")
        return batch, count

    before = published_scores()
    (pages / "aisles.md").write_text((PAGES / "aisles.md").read_text() + "\n{nobody.knows}\n")
    with pytest.raises(RestockError) as caught:
        run(settings, step)
    assert caught.value.exit_code == 1
    assert str(caught.value).startswith(
        "the scores are published, but pages could not be drawn:\n  aisles: "
    )
    assert "unknown query 'nobody'" in str(caught.value)
    scores = published_scores()
    assert scores != before
    assert "This page could not be drawn: " in (drawn / "aisles.html").read_text()
    assert scores[0] in (drawn / "index.html").read_text(), "the others are of this release"

    shutil.copy(PAGES / "aisles.md", pages)
    (pages / "index.md").write_text("no front matter")
    first = place.warehouse.resolve()
    with pytest.raises(RestockError, match=r"index\.md:1: no front matter"):
        run(settings, step)
    assert place.warehouse.resolve() != first and published_scores()[1] == scores[1]
    assert [path.name for path in drawn.iterdir()] == ["index.html"], "no pages of other scores"
    assert "no front matter" in (drawn / "index.html").read_text()

    shutil.copy(PAGES / "index.md", pages)
    report.report(settings, silent)
    assert published_scores()[0] in (drawn / "index.html").read_text()
