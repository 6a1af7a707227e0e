"""The pages in a real browser: what a reader sees, clicks and hears, on real data."""

from __future__ import annotations

import csv
import math
import re
import shutil
import signal
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import duckdb
import pytest
from axe_playwright_python.sync_playwright import Axe
from conftest import SHARED_INSTACART, Once, Place
from playwright.sync_api import Browser, Locator, Page, expect, sync_playwright
from test_pages import nasty
from test_serve import process
from test_site import EVERYTHING, EVIL, HEAD, QUERIES, site, small_warehouse

from dashboards.site import Site, parse_page
from dashboards.site.formats import DASH, MINUS
from ml.jobs.report import PAGES, write
from ml.jobs.report import QUERIES as SHARED

CHROMIUM = shutil.which("chromium")
if not CHROMIUM:
    pytest.skip("no browser: apt-get install chromium", allow_module_level=True)

__all__ = ["site", "small_warehouse"]  # fixtures
pytestmark = pytest.mark.slow
FLAGS = "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-sync"
FLAGS += " --disable-background-networking --disable-component-update"
SOURCES = {
    "complete_journey": "complete_journey",
    "instacart": "instacart_sample" if SHARED_INSTACART.exists() else "published",
}
# Of each chart that is seen: how many traces it has, and how many marks each has that was drawn.
MARKS = """plots => plots.filter(plot => plot.clientWidth).map(plot => [plot.data?.length,
    [...plot.querySelectorAll(".cartesianlayer :is(.trace, .hm)")]
        .map(trace => trace.querySelectorAll("path, image").length)])"""
FIGURES = """boxes => boxes.map(box => {
    const when = JSON.parse(box.closest("[data-when]")?.dataset.when ?? "{}");
    const chosen = ([name, n]) =>
        [name, document.querySelector(`select[name=${name}]`).options[n].value];
    return {
        ...box.dataset,
        shown: box.querySelector(".number").textContent,
        choice: Object.fromEntries(Object.entries(when).map(chosen)),
    };
})"""
DOWNLOADS = """links => links.map(link => {
    const when = JSON.parse(link.closest("[data-when]")?.dataset.when ?? "{}");
    const chosen = ([name, n]) =>
        [name, document.querySelector(`select[name=${name}]`).options[n].value];
    return [link.getAttribute("href"), link.closest("figure")?.querySelector("pre").textContent,
        Object.fromEntries(Object.entries(when).map(chosen))];
})"""
# What is in a table's columns, by cell, as it is and when its head was pressed once and twice.
PRESSED = """table => {
    const [back, forth] = table.querySelectorAll(".pager button");
    const rows = () => [...table.querySelectorAll("tbody tr")];
    const all = n => {
        let found = rows();
        while (forth && !forth.disabled) (forth.click(), found = [...found, ...rows()]);
        while (back && !back.disabled) back.click();
        return found.map(({cells}) => cells[n].dataset.sort);
    };
    return [...table.querySelectorAll("thead th")].map((head, n) => {
        const press = () => (head.firstElementChild.click(), [head.ariaSort, all(n)]);
        return [head.className, all(n), press(), press()];
    });
}"""
FOUND = """(table, text) => {
    const search = table.querySelector("input");
    search.value = text;
    search.dispatchEvent(new Event("input"));
    return [...table.querySelectorAll("tbody tr")].map(row => row.textContent);
}"""
AXE = """async options => {
    const {passes, violations} = await axe.run(options);
    const grave = violations.filter(({impact}) => ["serious", "critical"].includes(impact));
    return [passes.length, grave.map(({id, nodes}) => [id, nodes[0].html])];
}"""
SEEN = "elements => elements.filter(each => each.getClientRects().length)"
SETTLED = """() => new Promise(done =>
    requestAnimationFrame(() => setTimeout(() => requestAnimationFrame(done))))"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        yield playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS.split())


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A window in which nothing may go wrong, and from which nothing may leave the machine."""
    faults: list[str] = []
    requests: list[str] = []
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on("console", lambda message: faults.append(f"{message.type}: {message.text}"))
    page.on("request", lambda request: requests.append(request.url))
    yield page
    page.close()
    assert faults == []
    assert [url for url in requests if not url.startswith(("file:", "data:", "blob:"))] == []


@pytest.fixture(scope="module", params=SOURCES)
def place(request: pytest.FixtureRequest) -> Place:
    """The place of a run on each source; its minute counts as setup, not as a page's."""
    return request.getfixturevalue(SOURCES[request.param])


@pytest.mark.parametrize("name", sorted(path.stem for path in PAGES.glob("*.md")))
def test_page(place: Place, name: str, page: Page) -> None:
    page.goto((place.folder / "pages" / f"{name}.html").as_uri())
    page.evaluate(SETTLED)
    assert page.get_by_role("heading", level=1).count() == 1
    figures_equal_the_warehouse(page, place, PAGES / f"{name}.md")
    downloads_equal_the_queries(page, place, PAGES / f"{name}.md")
    all_charts_have_marks(page)
    for table in page.locator(".table:visible").all():
        table_sorts_and_searches(table)
    for tab in page.locator(".tabs label").all():
        tab.click()
        all_charts_have_marks(page)
    nobody_is_shut_out(page)
    for dropdown in page.locator("select").all():
        dropdown_changes_the_page(page, dropdown)
    for width in (360, 2560):
        page.set_viewport_size({"width": width, "height": 900})
        assert fits(page)


def figures_equal_the_warehouse(page: Page, place: Place, source: Path, **params: str) -> None:
    """What each BigValue shows is what its query finds, run here without the renderer."""
    sql = queries(source)
    for figure in page.locator(".big-value").evaluate_all(FIGURES):
        query = whole(figure["query"], sql, figure["choice"] | params)
        expected = place.query(f"select {figure['column']} from {query} limit 1")[0][0]
        shown = figure["shown"].replace(MINUS, "-").replace(",", "")
        if expected is None:
            assert (figure["raw"], shown) == ("", DASH)
        elif isinstance(expected, str):
            assert figure["raw"] == shown == expected
        elif not hasattr(expected, "isoformat"):
            assert float(figure["raw"]) == pytest.approx(float(expected), rel=1e-12)
            digits = len(shown.rstrip("%").partition(".")[2]) + 2 * shown.endswith("%")
            value = float(shown.rstrip("%")) / (100 if shown.endswith("%") else 1)
            assert value == pytest.approx(float(expected), abs=0.501 * 10**-digits)


def downloads_equal_the_queries(page: Page, place: Place, source: Path, **params: str) -> None:
    """Each file has the rows of its query; the SQL that a chart shows finds them too."""
    sql = queries(source)
    folder = Path(page.url.removeprefix("file://")).parent
    found = page.locator("a.download").evaluate_all(DOWNLOADS)
    # A page whose question was skipped has nothing to download.
    assert found or page.get_by_text("This question was skipped").count()
    with duckdb.connect(str(place.warehouse), read_only=True) as con:
        for href, shown, choice in found:
            (query,) = re.findall(r"-([a-z]\w*)(?:-\d+)*\.csv$", href)
            result = con.execute(shown or f"from {whole(query, sql, choice | params)}")
            columns = [each[0] for each in result.description or ()]
            rows = [dict(zip(columns, row, strict=True)) for row in result.fetchall()]
            expected = [plain(row.values()) for row in rows if not row.get("is_rest")]
            with (folder / href).open(encoding="utf-8-sig", newline="") as file:
                head, *lines = csv.reader(file)
            assert head == columns
            assert sorted(map(plain, lines)) == sorted(expected[:50_000]), href


def plain(row: Iterable[Any]) -> list[str]:
    """The values of a row as text; numbers that are equal have the same text."""

    def text(value: Any) -> str:
        if value is None or isinstance(value, bool):
            return "" if value is None else str(value)
        try:
            number = float(value) + 0.0  # -0.0 + 0.0 has no sign
        except (TypeError, ValueError):
            return str(value)
        return repr(number) if math.isfinite(number) else ""

    return [text(value) for value in row]


def queries(source: Path) -> dict[str, str]:
    sql = {path.stem: path.read_text() for path in SHARED.glob("*.sql")}
    return sql | {n: query.sql for n, query in parse_page(source).queries.items()}


def whole(name: str, sql: dict[str, str], choice: dict[str, str]) -> str:
    """A query with those that it uses, and the options that were chosen, written into it."""
    text = re.sub(
        r"'?\$\{(?:inputs|params)\.(\w+)(\.value)?\}'?",
        lambda used: "'" + choice[used[1]].replace("'", "''") + "'",
        sql[name].strip().rstrip(";"),
    )
    return re.sub(r"\$\{(\w+)\}", lambda used: whole(used[1], sql, choice), f"({text}\n)")


def all_charts_have_marks(page: Page) -> None:
    page.evaluate(SETTLED)
    for traces, marks in page.locator(".plot").evaluate_all(MARKS):
        assert traces and len(marks) == traces and min(marks) > 0


def table_sorts_and_searches(table: Locator) -> None:
    for kind, before, *pressed in table.evaluate(PRESSED):
        assert {order for order, _ in pressed} == {"ascending", "descending"}
        known = {order: [key for key in keys if key] for order, keys in pressed}
        for order, keys in pressed:
            assert sorted(keys) == sorted(before)
            assert not any(keys[len(known[order]) :]), "NULL comes last"
        assert known["ascending"] == known["descending"][::-1]
        if "number" in kind:
            numbers = [float(key) for key in known["ascending"]]
            assert numbers == sorted(numbers)
    if table.locator("input").count():
        name = table.locator("tbody th").first.text_content()
        found = table.evaluate(FOUND, name)
        assert found and all(str(name).lower() in text.lower() for text in found)
        assert table.evaluate(FOUND, "\ue0ff") == []
        assert table.evaluate(FOUND, "")


def dropdown_changes_the_page(page: Page, dropdown: Locator) -> None:
    """An option shows what was computed for it, and not all show the same: a few, spread out."""
    shown = set()
    name = dropdown.get_attribute("name")
    variants = page.locator(f".variant[data-when*={name}]")
    count = dropdown.locator("option").count()
    for n in sorted({0, 1, count // 2, count - 1} & set(range(count))):
        dropdown.select_option(index=n)
        all_charts_have_marks(page)
        found = variants.evaluate_all(
            f"variants => ({SEEN})(variants).map(each => [each.dataset.when, each.textContent])"
        )
        assert found and all(f'"{name}":{n}' in when for when, _ in found)
        shown.add(str([text for _, text in found]))
    assert len(shown) > 1 or count == 1


def fits(page: Page) -> bool:
    page.evaluate(SETTLED)
    root = "document.documentElement"
    return bool(page.evaluate(f"{root}.scrollWidth <= {root}.clientWidth"))


def nobody_is_shut_out(page: Page) -> None:
    """axe-core finds nothing serious; in the dark, where only colours differ, it looks at those."""
    page.evaluate(Axe().axe_script)
    for scheme, rules in {"light": {}, "dark": {"runOnly": ["color-contrast"]}}.items():
        page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
        page.evaluate(SETTLED)
        options = {"preload": False, "resultTypes": ["violations"], **rules}
        looked, faults = page.evaluate(AXE, options)
        assert looked and faults == []


def test_templated_pages(place: Place, page: Page) -> None:
    """One for each aisle, which tables link to; one is looked at as closely as the others."""
    folder = place.folder / "pages"
    ((aisles,),) = place.query("select count(distinct aisle) from rpt_aisles")
    assert len([*(folder / "aisles").iterdir()]) == aisles > 100
    for file in folder.rglob("*.html"):
        for href in re.findall(r'href="([^":#]+\.(?:html|css|csv))"', file.read_text()):
            assert (file.parent / href).exists(), (file, href)

    page.goto((folder / "aisles.html").as_uri())
    link = page.locator(".table:has(input):visible tbody th a").first
    aisle = str(link.text_content())
    link.click()
    assert page.get_by_role("heading", level=1).text_content() == aisle
    source = PAGES / "aisles" / "[aisle].md"
    figures_equal_the_warehouse(page, place, source, aisle=aisle)
    downloads_equal_the_queries(page, place, source, aisle=aisle)
    all_charts_have_marks(page)
    nobody_is_shut_out(page)
    page.locator(".above a").click()
    assert page.get_by_role("heading", level=1).text_content() == "Aisles"


@pytest.mark.parametrize("name", ["index", "aisles", "products", "aisles/*"])
def test_the_first_screen_of_a_phone(place: Place, name: str, page: Page) -> None:
    """The menu has every page; a table keeps its first column in view, the second beside it."""
    page.set_viewport_size({"width": 390, "height": 844})
    (file, *_) = sorted((place.folder / "pages").glob(f"{name}.html"))
    page.goto(file.as_uri())
    assert fits(page)
    assert page.locator("h1").bounding_box()["y"] < 130  # type: ignore[index]
    if name == "aisles/*":
        strip = page.locator(".grid").first.bounding_box()
        assert strip and strip["y"] + strip["height"] < 500
    for table in page.locator(".scroll:visible:not(details .scroll)").all():
        ends = "heads => heads.slice(0, 2).map(head => head.getBoundingClientRect())"
        first, *second = table.locator("thead th").evaluate_all(ends)
        assert all(each["left"] >= 0 and each["right"] <= 390 for each in (first, *second))
        table.evaluate("scroll => scroll.scrollLeft = 9999")
        (moved,) = table.locator("thead th").evaluate_all(ends)[:1]
        assert moved["left"] == first["left"]
    assert page.locator("nav a:visible").count() == 0
    page.get_by_role("button", name="Menu").click()
    assert page.locator("nav a:visible").count() == len([*PAGES.glob("*.md")])
    assert page.locator("nav").evaluate("nav => nav.getBoundingClientRect().bottom") < 844


def test_every_component(site: Site, page: Page, tmp_path: Path) -> None:
    """What a page may hold, one of each: marks, order, pages of a table, search, options, tabs."""
    (site.pages_dir / "index.md").write_text(HEAD + QUERIES + EVERYTHING)
    write(site.build(), tmp_path / "out")
    page.goto((tmp_path / "out" / "index.html").as_uri())
    all_charts_have_marks(page)
    assert page.locator(".plot:visible").count() == 8
    names = page.locator(".ytick").all_text_contents()
    assert EVIL in names, "there is room"
    page.set_viewport_size({"width": 390, "height": 900})
    all_charts_have_marks(page)
    cut = [name.removesuffix("…") for name in page.locator(".ytick").all_text_contents()]
    assert "a very long name of an" in cut, "at the end of a word"
    page.set_viewport_size({"width": 1280, "height": 900})
    page.evaluate(SETTLED)
    with page.expect_download() as download:
        page.get_by_role("link", name="Download Aisles as CSV").first.click()
    assert Path(download.value.path()).read_text("utf-8-sig").startswith("department,aisle,")

    table = page.locator(".table:has(input):visible")

    def column(n: int) -> list[str]:
        rows = table.locator("tbody tr:visible")
        return [row.locator("th, td").nth(n).inner_text() for row in rows.all()]

    assert column(1) == ["900", "400"]
    table.locator("thead button").nth(0).click()
    assert column(0) == [EVIL, "a very long name of an aisle of spices"]
    table.locator("thead button").nth(2).click()
    assert column(2) == ["50%", "30%"]
    table.get_by_role("button", name="Next").click()
    assert column(2) == ["10%", DASH] and "3\u20134 of 4" in table.inner_text()
    table.locator("input").fill("hara")
    assert column(0) == ["O'Hara's milk"]
    sentence = page.locator("p:visible", has_text="Dairy")
    assert sentence.all_inner_texts() == ["Dairy comes first."]
    page.locator("select").select_option(label="Pantry")
    assert sentence.all_inner_texts() == ["Dairy is not chosen."]
    assert column(0) == [EVIL, "a very long name of an aisle of spices"]

    page.locator(".tabs input").first.focus()
    page.keyboard.press("ArrowRight")
    assert page.get_by_text("Some text.").is_visible()
    page.set_viewport_size({"width": 360, "height": 900})
    assert fits(page)
    nobody_is_shut_out(page)
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    after = "getComputedStyle(document.querySelector('footer'), '::after').content"
    assert re.fullmatch(r'"Printed \d+ \w+ \d{4}\."', page.evaluate(after))
    assert not page.locator(".download:visible, nav:visible").count()


def test_standalone_has_every_page_in_one_file(site: Site, page: Page, tmp_path: Path) -> None:
    chart = "<BarChart data=hours x=hour y=low/>"
    (site.pages_dir / "index.md").write_text(HEAD + QUERIES + "See [more](more.md).\n" + chart * 4)
    (site.pages_dir / "more.md").write_text(HEAD.replace("Test", "More") + QUERIES + chart)
    (tmp_path / "mail.html").write_text(site.build(standalone=True)["standalone.html"])
    page.goto((tmp_path / "mail.html").as_uri())
    all_charts_have_marks(page)
    heading = page.get_by_role("heading", name="More")
    assert heading.bounding_box()["y"] > 900  # type: ignore[index]
    page.get_by_text("more", exact=True).click()
    page.wait_for_timeout(800)  # it scrolls
    assert heading.bounding_box()["y"] < 900  # type: ignore[index]


def test_pages_are_small_and_seen_before_plotly_is_read(published: Place, page: Page) -> None:
    page.goto((published.folder / "pages" / "index.html").as_uri())
    assert page.locator("script[src]:not([defer])").count() == 0
    pages = [*(published.folder / "pages").rglob("*.html")]
    assert sum(path.stat().st_size for path in pages) < 3_000_000


@pytest.mark.parametrize("name", sorted(path.stem for path in PAGES.glob("*.md")))
def test_a_page_of_a_nasty_shop_fits(once: Once, name: str, page: Page) -> None:
    """Names of any kind and length, 4,800 aisles, 2,000 departments, a basket of 5,000 products."""
    place = nasty(once, "many")
    for width in (390, 1280):
        page.set_viewport_size({"width": width, "height": 900})
        page.goto((place.folder / "pages" / f"{name}.html").as_uri())
        all_charts_have_marks(page)
        assert fits(page)
        assert page.evaluate("document.documentElement.scrollHeight") < 8_000
    for table in page.locator(".table:visible:not(details .table)").all():
        table_sorts_and_searches(table)
    assert page.locator("tfoot tr").count() == {"aisles": 2, "demand": 1, "shoppers": 1}.get(
        name, 0
    )


def test_the_app(published: Place, browser: Browser) -> None:
    """A visitor asks what if, goes from page to page, and nothing leaves the machine."""
    ((user_id, product),) = published.query(
        "select user_id, product_name from fct_predictions inner join dim_products "
        "using (product_id) where rank_in_user = 1 order by all limit 1"
    )
    requests: list[str] = []
    faults: list[str] = []
    with process(published, "app") as (server, address):
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        page.on("request", lambda request: requests.append(request.url))
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.goto(f"{address}/?shopper={user_id}", timeout=120_000)
        expect(page.get_by_role("heading", name="What they buy next")).to_be_visible(timeout=60_000)
        expect(page.get_by_label("Product", exact=True).first).to_have_value(product)
        page.get_by_text("What if").click()
        page.get_by_label("Newest orders to leave out").fill("1")
        page.keyboard.press("Enter")
        expect(page.get_by_role("heading", name="Before and after")).to_be_visible(timeout=60_000)
        for title in ("A file", "Tomorrow", "How it is going"):
            page.get_by_role("link", name=title).click()
            expect(page.get_by_role("heading", level=1, name=title)).to_be_visible(timeout=60_000)
            expect(page.get_by_text("Batch ")).to_be_visible(timeout=60_000)
        page.set_viewport_size({"width": 360, "height": 900})
        assert fits(page)
        page.close()
        server.send_signal(signal.SIGTERM)
        _, said = server.communicate(timeout=30)
    assert server.returncode == 0 and "Traceback" not in said, said
    own = (address, address.replace("http:", "ws:"), "data:", "blob:")
    assert faults == [] and [url for url in requests if not url.startswith(own)] == []
