"""The dashboard renderer: components, conditions, errors, and the files it writes."""

from __future__ import annotations

import csv
import html
import io
import json
import re
from collections.abc import Callable
from pathlib import Path
from threading import Event
from typing import Any

import duckdb
import plotly.graph_objects as go
import pytest
from markupsafe import Markup

from dashboards.site import Site, SiteError, parse_page
from dashboards.site.charts import TRACES
from dashboards.site.components import COMPONENTS, PARTS
from dashboards.site.formats import DASH, MINUS, Field
from dashboards.site.links import addresses
from dashboards.site.reference import BEGIN, END, README, reference
from dashboards.site.render import JINJA, Renderer
from ml.jobs.report import changes

ROOT = Path(__file__).parents[2]
ASSETS = ROOT / "dashboards/site/assets"
HEAD = "---\ntitle: Test\norder: 1\n---\n"
EVIL = "<script>alert('1')</script> & <b>co</b>"
# Queries for every test page; they start on line 6 of the file.
QUERIES = """
```sql aisles
select * from rpt_aisles order by pairs_count desc
```
```sql hours
select * from rpt_hours order by hour
```
"""

EVERYTHING = """
```sql one
select 0.25 as reorder_share, 3 as n_count, null::double as nothing
```
```sql departments
select '%' as department, 'All' as label
union all (select distinct department, department from rpt_aisles order by department)
```
```sql chosen
select * from ${aisles} where department like ${inputs.department}
```

<Grid cols=3>
    <BigValue data=one value=reorder_share>
        of <Value data=one column=n_count/> shoppers
    </BigValue>
    <BigValue data=one value=nothing/>
</Grid>
<BarChart data=aisles x=aisle y=mean_probability low=low high=high swapXY=true>
    <ReferenceLine data=one x=reorder_share label="mean"/>
</BarChart>
<BarChart data=aisles x=department y=pairs_count series=band/>
<LineChart data=hours x=hour y=predicted_share/>
<LineChart data=hours x=hour y=observed_share low=low high=high>
    <ReferenceLine y=0.5/>
</LineChart>
<AreaChart data=hours x=day_date y=orders_count yLog yMin=1/>
<ScatterPlot data=aisles x=pairs_count y=mean_probability series=band tooltipTitle=aisle xLog/>
<Histogram data=hours x=observed_share/>
<Heatmap data=hours x=hour y=weekday value=observed_share/>
<Tabs>
    <Tab label="First">The **first** tab.</Tab>
    <Tab label="Second"><Details title="More" open=true>Some text.</Details></Tab>
</Tabs>
<Dropdown name=department title="Department" data=departments value=department label=label/>
{#if chosen.department == 'Dairy'}Dairy comes first.{:else}Dairy is not chosen.{/if}
<Alert status=warning>There are <Value data=hours column=orders_count/> orders.</Alert>
<DataTable data=chosen title="Aisles" search=true rows=2>
    <Column id=aisle/>
    <Column id=pairs_count contentType=bar/>
    <Column id=mean_probability fmt=pct0/>
    <Column id=band contentType=badge/>
</DataTable>
"""

Build = Callable[..., str]


@pytest.fixture(scope="session")
def small_warehouse(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("site") / "warehouse.duckdb"
    with duckdb.connect(path) as connection:
        connection.execute(
            """
            create table rpt_aisles as
            from (values
                ('Dairy', 'yoghurt', 900, 0.5, 0.4, 0.6, 'high'),
                ('Dairy', 'O''Hara''s milk', 400, 0.1, 0.05, 0.2, 'low'),
                ('Pantry', $evil, 300, 0.3, 0.2, 0.4, 'medium'),
                ('Pantry', 'a very long name of an aisle of spices', 20, null, null, null, 'low')
            ) as t (department, aisle, pairs_count, mean_probability, low, high, band)
            """,
            {"evil": EVIL},
        )
        connection.execute(
            """
            create table rpt_hours as
            select
                hour, 'Mon' as weekday, date '2018-01-01' + hour::int as day_date,
                case when hour <> 3 then hour / 40 end as observed_share, 0.5 as predicted_share,
                hour / 50 as low, hour / 30 as high, 1000 + hour as orders_count
            from range(24) as t (hour)
            """
        )
    return path


@pytest.fixture
def site(tmp_path: Path, small_warehouse: Path) -> Site:
    """A site with an empty pages folder and a small warehouse."""
    for name in ("pages", "queries"):
        (tmp_path / name).mkdir()
    return Site(tmp_path / "pages", tmp_path / "queries", small_warehouse)


@pytest.fixture
def build(site: Site) -> Build:
    """Builds index.md from a body, which follows QUERIES, and returns its HTML."""

    def build_page(body: str) -> str:
        (site.pages_dir / "index.md").write_text(HEAD + QUERIES + body, encoding="utf-8")
        return site.build()["index.html"]

    return build_page


def figures(page: str) -> list[dict[str, Any]]:
    """The Plotly figures of a page."""
    found = re.findall(r'<script type="application/json">(.*?)</script>', page)
    return [json.loads(text) for text in found]


def words(page: str) -> str:
    """The text of a page's article, without tags and runs of space."""
    article = re.search(r"<article[^>]*>(.*)</article>", page, re.DOTALL)
    assert article
    return " ".join(html.unescape(re.sub(r"<script.*?</script>|<[^>]*>", " ", article[1])).split())


class TestComponents:
    def test_every_component_renders(self, build: Build) -> None:
        page = build(EVERYTHING)
        assert {tag for tag in COMPONENTS if f"<{tag}" not in EVERYTHING} == set()
        assert page.count('class="plot"') == len(figures(page)) == 8
        assert page.count('role="img" aria-label=') == 8
        for tag in COMPONENTS:
            assert f"<{tag}" not in page, "a tag was left in the page"
        assert not re.search("[\ue000\ue001]", page), "a mark was left in the page"
        assert "<pre><code>" not in page, "indented text in a tag is not code"

    def test_figures_are_valid_plotly(self, build: Build) -> None:
        text = (ASSETS / "charts.json").read_text(encoding="utf-8")
        template = json.loads(re.sub(r"var\(--[\w-]+\)", "#123456", text))
        for figure in figures(re.sub(r"var\(--[\w-]+\)", "#123456", build(EVERYTHING))):
            go.Figure(data=figure["data"], layout=figure["layout"] | {"template": template})

    def test_every_colour_is_in_the_theme(self, build: Build) -> None:
        theme = (ASSETS / "theme.css").read_text(encoding="utf-8")
        looks = [
            (ASSETS / name).read_text(encoding="utf-8") for name in ("charts.json", "site.css")
        ]
        used = set(re.findall(r"var\(--([\w-]+)\)", build(EVERYTHING) + "".join(looks)))
        assert used - {"cols", "share", "tone"} <= set(re.findall(r"--([\w-]+):", theme))
        assert not re.search(r"#[0-9a-f]{3,6}\b|rgb\(", looks[1])

    def test_big_value(self, build: Build) -> None:
        page = build(
            "```sql q\nselect -0.25 as a_share\n```\n"
            "<BigValue data=q value=a_share>of *all* <Value data=q column=a_share fmt=pct0/>"
            "</BigValue>"
        )
        assert 'data-query="q" data-column="a_share" data-raw="-0.25"' in page
        assert words(page) == f"Test A share {MINUS}25.0% of all {MINUS}25%"

    def test_horizontal_bars_keep_the_order_of_rows_and_have_whiskers(self, build: Build) -> None:
        (figure,) = figures(
            build("<BarChart data=aisles x=aisle y=mean_probability low=low high=high swapXY/>")
        )
        (trace,) = figure["data"]
        assert trace["orientation"] == "h" and trace["x"] == [0.5, 0.1, 0.3, None]
        assert figure["layout"]["yaxis"]["autorange"] == "reversed"
        labels = figure["layout"]["annotations"]
        assert [label["text"] for label in labels] == ["0.500", "0.100", "0.300"]
        assert [label["x"] for label in labels] == [0.6, 0.2, 0.4], "beside the whiskers"
        assert trace["error_x"]["array"] == pytest.approx([0.1, 0.1, 0.1, 0])
        assert trace["error_x"]["arrayminus"] == pytest.approx([0.1, 0.05, 0.1, 0])

    def test_an_interval_of_nulls_has_no_whiskers(self, build: Build) -> None:
        sql = "```sql q\nselect hour, low, null as a, null as b from ${hours}\n```\n"
        (chart,) = figures(build(sql + "<BarChart data=q x=hour y=low low=a high=b/>"))
        assert "error_y" not in chart["data"][0]

    def test_a_series_without_interval_has_no_whiskers(self, build: Build) -> None:
        page = build(
            "```sql q\nselect hour, 'seen' as kind, low, high from ${hours}\nunion all\n"
            "select hour, 'told', 0.1, null from ${hours}\n```\n"
            "<BarChart data=q x=hour y=low series=kind low=high high=high/>"
        )
        assert ["error_y" in trace for trace in figures(page)[0]["data"]] == [True, False]

    def test_log_axes(self, build: Build) -> None:
        one, other = figures(
            build(
                "<BarChart data=aisles x=aisle y=mean_probability yLog yMin=0.01 yMax=1/>"
                "<ScatterPlot data=hours x=orders_count y=observed_share xLog yLog/>"
            )
        )
        assert one["layout"]["yaxis"]["range"] == [-2, 0]
        assert [other["layout"][axis]["dtick"] for axis in ("xaxis", "yaxis")] == ["D2", "D2"]
        wide = "```sql q\nselect hour, 10 ** hour as n from ${hours}\n```\n"
        (chart,) = figures(build(f"{wide}<LineChart data=q x=hour y=n yLog/>"))
        assert chart["layout"]["yaxis"]["dtick"] == 1, "powers of ten"

    def test_hover_text_names_its_columns(self, build: Build) -> None:
        (figure,) = figures(
            build("<ScatterPlot data=aisles x=pairs_count y=low series=band tooltipTitle=aisle/>")
        )
        assert figure["data"][0]["hovertemplate"] == (
            "<b>low</b><br>Aisle %{text}<br>Pairs count %{x:,.0f}<br>Low %{y:,.3f}<extra></extra>"
        )

    def test_risk_bands_have_a_fixed_order_with_colours_and_shapes(self, build: Build) -> None:
        page = build(
            "<ScatterPlot data=aisles x=pairs_count y=mean_probability series=band/>"
            "<DataTable data=aisles><Column id=band contentType=badge/></DataTable>"
        )
        traces = figures(page)[0]["data"]
        assert [(trace["name"], trace["marker"]["color"]) for trace in traces] == [
            ("low", "var(--negative)"),
            ("medium", "var(--caution)"),
            ("high", "var(--positive)"),
        ]
        template = json.loads((ASSETS / "charts.json").read_text(encoding="utf-8"))["data"]
        assert len({each["marker"]["symbol"] for each in template["scatter"]}) == 6
        assert len({each["line"]["dash"] for each in template["scatter"]}) == 6
        assert len({each["marker"]["pattern"]["shape"] for each in template["bar"]}) == 6
        assert '<span class="badge caution">medium</span>' in page

    def test_the_band_is_drawn_below_the_line(self, build: Build) -> None:
        (figure,) = figures(
            build("<LineChart data=hours x=hour y=observed_share low=low high=high/>")
        )
        line, low, high = figure["data"]
        assert line["mode"] == "lines+markers" and low["zorder"] == high["zorder"] == -1
        assert high["fill"] == "tonexty" and high["y"][15] == 0.5 and low["y"][15] == 0.3

    def test_a_histogram_has_every_value(self, build: Build) -> None:
        (figure,) = figures(build("<Histogram data=hours x=observed_share/>"))
        (trace,) = figure["data"]
        assert trace["x"] == [hour / 40 if hour != 3 else None for hour in range(24)]
        assert trace["type"] == "histogram"

    def test_a_heatmap_has_gaps_for_null(self, build: Build) -> None:
        page = build("<Heatmap data=hours x=hour y=weekday value=observed_share/>")
        (trace,) = figures(page)[0]["data"]
        assert trace["x"][:2] == [0, 1] and set(trace["y"]) == {"Mon"}
        assert trace["z"][3] is None and trace["z"][4] == 0.1
        axis = figures(page)[0]["layout"]["yaxis"]
        assert axis["autorange"] == "reversed" and "range" not in axis, (
            "the first row is at the top"
        )

    def test_a_chart_includes_its_data_as_a_table(self, build: Build) -> None:
        page = build("<BarChart data=hours x=hour y=low yFmt=pct0 title=Low/>")
        assert "Data of Low" in words(page) and "from rpt_hours order by hour" in words(page)
        assert page.count("<tr") == 25 and 'data-sort="0.02">2%</td>' in page

    def test_alternative_text_describes_the_chart(self, build: Build) -> None:
        page = build("<LineChart data=hours x=hour y=observed_share/>")
        assert 'aria-label="hours. Observed share: lowest 0.0% at 0, highest 57.5% at 23."' in page
        page = build("<Heatmap data=hours x=hour y=weekday value=observed_share/>")
        assert "lowest 0.0% at 0, Mon, highest 57.5% at 23, Mon." in page

    def test_reference_lines(self, build: Build) -> None:
        (figure,) = figures(
            build(
                "<LineChart data=hours x=hour y=low><ReferenceLine y=high/>"
                "<ReferenceLine x=0 y=0 x2=23 y2=-.5/></LineChart>"
            )
        )
        across, slanted = figure["layout"]["shapes"]
        assert (across["xref"], across["y0"], across["y1"]) == ("paper", 0, 0)
        assert (slanted["x0"], slanted["x1"], slanted["y0"], slanted["y1"]) == (0, 23, 0, -0.5)

    def test_a_table_has_headers_for_screen_readers(self, build: Build) -> None:
        page = build('<DataTable data=aisles title="Aisles" rows=3/>')
        assert "<caption>Aisles</caption>" in page
        assert page.count('<th scope="col"') == 7 and page.count('scope="row"') == 4
        assert page.count("<tr hidden>") == 1 and f"1{DASH}3 of 4" in page
        assert f'<td class="number " data-sort="">{DASH}</td>' in page

    def test_prose_is_markdown_with_values_in_it(self, build: Build) -> None:
        page = build("There are **<Value data=aisles column=pairs_count/>** `<Value/>` and a < b.")
        assert '<p>There are <strong><span class="value">900</span></strong>' in page
        assert "<code>&lt;Value/&gt;</code> and a &lt; b.</p>" in page


ROWS = """
```sql one
select
    3 as n_count, 0 as zero, 0.25 as a_share, 'fail' as status, '' as empty_text,
    null as nothing, null::boolean as unknown, true as is_dated, false as is_empty,
    date '2018-01-02' as day
```
```sql none
from ${one} where false
```
"""


KPI = """
```sql kpi
from (values
    (date '2018-01-22', 120, 0.2), (date '2018-01-08', 80, null), (date '2018-01-15', 100, 0.25)
) as t (day, order_count, change_share)
order by day desc
```
<BigValue data=kpi value=order_count sparkline=day comparison=change_share %s/>
"""


class TestBigValue:
    @pytest.mark.parametrize(
        ("attributes", "tone", "text"),
        [
            ('comparisonTitle="since last week"', "positive", "▲ up 20.0% since last week"),
            ("downIsGood", "negative", "▲ up 20.0%"),
            ("neutral", "", "▲ up 20.0%"),
            ("comparisonFmt=pct0", "positive", "▲ up 20%"),
        ],
    )
    def test_a_comparison_is_a_change(
        self, build: Build, attributes: str, tone: str, text: str
    ) -> None:
        page = build(KPI % attributes)
        assert re.findall(r'<p class="change ?(\w*)\s*"', page) == [tone]
        assert words(page) == f"Test Order count 120 {text}"

    @pytest.mark.parametrize(
        ("change", "tone", "text"),
        [("-0.2", "negative", "▼ down 20.0%"), ("-0.0004", "", f"{MINUS}0.0%"), ("0", "", "0.0%")],
    )
    def test_a_change_that_is_zero_as_shown_has_no_arrow(
        self, build: Build, change: str, tone: str, text: str
    ) -> None:
        page = build(
            f"```sql q\nselect 1 as n, {change} as a_share\n```\n"
            "<BigValue data=q value=n comparison=a_share/>"
        )
        assert re.findall(r'<p class="change ?(\w*)\s*"', page) == [tone]
        assert words(page) == f"Test N 1 {text.replace(MINUS, '')}"

    def test_without_a_comparison_or_a_history_nothing_is_shown(self, build: Build) -> None:
        page = build(
            "```sql q\nselect 1 as n, null::double as a, date '2018-01-01' as day\n```\n"
            "<BigValue data=q value=n comparison=a sparkline=day/>"
        )
        assert words(page) == "Test N 1" and "<svg" not in page.partition("<main")[2]

    def test_a_sparkline_is_in_the_order_of_its_column(self, build: Build) -> None:
        (points,) = re.findall(r'<polyline points="(.*?)"', build(KPI % ""))
        assert points.split() == ["2.0,22.0", "50.0,12.0", "98.0,2.0"]

    def test_a_link(self, site: Site, build: Build) -> None:
        (site.pages_dir / "more.md").write_text("---\ntitle: More\n---\n")
        page = build("<BigValue data=hours value=hour link=more.md/>")
        assert '<p class="label"><a href="more.html">Hour</a></p>' in page


class TestHighlight:
    def test_ours_is_in_the_accent_colour_and_the_rest_is_grey(self, build: Build) -> None:
        sql = "```sql q\nselect *, department = 'Dairy' as is_ours from ${aisles}\n```\n"
        bars, lines = figures(
            build(
                f"{sql}<BarChart data=q x=aisle y=pairs_count highlight=is_ours swapXY/>"
                "<LineChart data=q x=aisle y=pairs_count series=department highlight=is_ours/>"
            )
        )
        ours, others = "var(--accent)", "var(--quiet)"
        assert bars["data"][0]["marker"]["color"] == [ours, ours, others, others]
        assert [trace["line"]["color"] for trace in lines["data"]] == [ours, others]

    def test_the_label_of_a_line_at_an_x_is_above_it(self, build: Build) -> None:
        (figure,) = figures(
            build(
                "<BarChart data=aisles x=aisle y=pairs_count swapXY>"
                '<ReferenceLine x=950 label="<ceiling>"/></BarChart>'
            )
        )
        *_, label = figure["layout"]["annotations"]
        assert (label["x"], label["y"], label["text"]) == (950, 1, "&lt;ceiling&gt;")
        assert "label" not in figure["layout"]["shapes"][0]

    def test_a_line_over_many_days_has_no_markers(self, build: Build) -> None:
        sql = "select date '2018-01-01' + n::int as day, n from range({}) as t (n)"
        queries = "".join(f"```sql q{n}\n{sql.format(n)}\n```\n" for n in (40, 41))
        page = build(queries + "<LineChart data=q40 x=day y=n/><LineChart data=q41 x=day y=n/>")
        assert [each["data"][0]["mode"] for each in figures(page)] == ["lines+markers", "lines"]
        assert figures(page)[0]["layout"]["xaxis"]["type"] == "date"


class TestDownloads:
    """The file has every row and column of the query, whatever the page shows of it."""

    def rows(self, site: Site, name: str) -> list[list[str]]:
        text = site.build()[f"downloads/{name}.csv"]
        return list(csv.reader(io.StringIO(text.removeprefix("\ufeff"))))

    def test_all_rows_of_a_table_and_a_chart(self, site: Site, build: Build) -> None:
        page = build(
            "<DataTable data=aisles limit=1><Column id=aisle/></DataTable>"
            "<BarChart data=hours x=hour y=low limit=3 swapXY/>"
        )
        assert page.count("<tbody>") == 2 and "The first 1 of 4 rows." in words(page)
        assert re.findall(r'class="download" href="(.*?)"', page) == [
            f"downloads/index-{name}.csv" for name in ("aisles", "hours")
        ]
        head, first, _, third, fourth = self.rows(site, "index-aisles")
        assert head[:3] == ["department", "aisle", "pairs_count"] and len(head) == 7
        assert first == ["Dairy", "yoghurt", "900", "0.5", "0.4", "0.6", "high"]
        assert (third[1], fourth[3]) == (EVIL, ""), "names as they are, NULL as nothing"
        hours = self.rows(site, "index-hours")
        assert len(hours) == 25 and hours[1][2] == "2018-01-01"

    def test_no_more_than_fifty_thousand_rows(self, site: Site, build: Build) -> None:
        sql = "```sql q\nfrom range(50001) as t (n)\n```\n<DataTable data=q limit=2/>"
        said = "The first 2 of 50,001 rows. The download has the first 50,000."
        assert said in words(build(sql))
        assert len(self.rows(site, "index-q")) == 50_001

    def test_the_row_for_all_others_is_left_out(self, site: Site, build: Build) -> None:
        page = build(
            "```sql q\nselect range as n, false as is_rest from range(5) union all\n"
            "select 12, true order by is_rest, n\n```\n<DataTable data=q limit=3 rest=is_rest/>"
        )
        assert page.count('scope="row"') == 4 and "The first" not in words(page)
        assert [row[0] for row in self.rows(site, "index-q")] == ["n", *"01234"]

    def test_each_option_has_its_own(self, site: Site, build: Build) -> None:
        page = build(
            "```sql d\nselect distinct department from ${aisles} order by 1\n```\n"
            "```sql q\nselect aisle from ${aisles} where department = ${inputs.d}\n```\n"
            "<Dropdown name=d data=d value=department/><DataTable data=q/>"
        )
        assert re.findall(r"downloads/[\w-]+", page) == [f"downloads/index-q-{n}" for n in (1, 2)]
        assert [row[0] for row in self.rows(site, "index-q-1")] == [
            "aisle",
            "yoghurt",
            "O'Hara's milk",
        ]


class TestShownSql:
    def test_it_can_be_pasted_into_duckdb(self, site: Site, build: Build) -> None:
        (site.queries_dir / "shared.sql").write_text("-- A comment.\nselect 2 as least;")
        page = build(
            "```sql d\nselect distinct department from ${aisles} order by 1\n```\n"
            "<Dropdown name=d data=d value=department/>\n"
            "```sql order\nselect pairs_count as n from ${aisles} where department = ${inputs.d}\n"
            "```\n```sql q\nwith more as (select n from ${order}, ${shared} where n > least)\n"
            "select sum(n) as n from more -- all\n```\n<BarChart data=q x=n y=n/>"
        )
        shown = [
            html.unescape(sql) for sql in re.findall(r"<pre[^>]*>(.*?)</pre>", page, re.DOTALL)
        ]
        with duckdb.connect(site.warehouse, read_only=True) as con:
            assert [con.execute(sql).fetchall() for sql in shown] == [[(1300,)], [(320,)]]


TEMPLATED = """---
title: ${params.department}
description: All of ${params.department}.
---

```sql departments
select department, count(*) as n from rpt_aisles group by department order by department
```
```sql own
select aisle, department, pairs_count from rpt_aisles where department = ${params.department}
```
{params.n} aisles of {params.department}{#if params.department == 'Dairy'}, chilled{/if}.
See [the first page](index.md).

<DataTable data=own><Column id=aisle/></DataTable>
"""


class TestTemplatedPages:
    @pytest.fixture(autouse=True)
    def template(self, site: Site) -> Path:
        path = site.pages_dir / "departments" / "[department].md"
        path.parent.mkdir()
        path.write_text(TEMPLATED)
        return path

    def test_one_page_for_each_row(self, site: Site, build: Build) -> None:
        build("")
        files = site.build()
        pages = [name for name in files if name.startswith("departments/")]
        assert pages == ["departments/dairy.html", "departments/pantry.html"]
        dairy, pantry = (files[name] for name in pages)
        assert "<title>Dairy · Restock</title>" in dairy
        assert words(dairy).startswith("Dairy All of Dairy. 2 aisles of Dairy , chilled. See")
        assert "chilled" not in words(pantry) and "yoghurt" not in words(pantry)
        assert 'href="../index.html">the first page<' in dairy and 'href="../assets/' in dairy
        (download,) = re.findall(r'class="download" href="\.\./(.*?)"', pantry)
        assert files[download].count("Pantry") == 2

    def test_tables_and_figures_link_to_them(self, site: Site, build: Build) -> None:
        page = build(
            '<DataTable data=aisles><Column id=aisle link="departments/[department].md"/>'
            "<Column id=pairs_count link=index.md contentType=bar/></DataTable>"
            '<Value data=aisles column=aisle link="departments/[department].md"/>'
        )
        assert page.count('<a href="departments/dairy.html">') == 3
        assert page.count('<a href="departments/pantry.html">') == 2
        assert '<a href="index.html">900</a></span>' in page
        one = site.build(standalone=True)["standalone.html"]
        assert "departments/" not in one.partition("<main")[2] and "downloads/" not in one
        assert ">yoghurt</th>" in one, "the text stays"

    def test_the_menu_has_the_page_above(self, site: Site, build: Build) -> None:
        (site.pages_dir / "departments.md").write_text("---\ntitle: All\n---\n")
        build("")
        page = site.build()["departments/dairy.html"]
        assert '<a href="../departments.html" aria-current="true">All</a>' in page
        assert '<p class="above"><a href="../departments.html">All</a></p>' in page
        assert page.count("dairy.html") == 0, "the menu does not list the rows"

    @pytest.mark.parametrize(
        ("old", "new", "message"),
        [
            ("```sql departments", "```sql other", "1: the pages: unknown query 'departments'"),
            ("select department,", "select 1 as x,", "1: the pages: no column 'department'; known"),
            ("{params.n}", "{params.m}", "12: {params.m}: no column 'm'; known"),
            ("id=aisle", 'id=aisle link="x/[y].md"', "15: <Column>: no page x/[y].md to link to;"),
            (
                "id=aisle",
                'id=aisle link="aisles/[aisle].md"',
                "15: <Column>: no page aisles/[aisle].md",
            ),
            ("index.md", "departments/dairy.md", "1: no page departments/dairy.md to link to"),
        ],
    )
    def test_an_error_names_the_line(
        self, build: Build, template: Path, old: str, new: str, message: str
    ) -> None:
        template.write_text(TEMPLATED.replace(old, new, 1))
        with pytest.raises(SiteError) as error:
            build("")
        assert str(error.value).startswith(f"{template}:{message}")

    def test_a_link_needs_the_column_of_the_parameter(self, build: Build) -> None:
        link = '<Value data=hours column=hour link="departments/[department].md"/>'
        with pytest.raises(SiteError, match="needs the column 'department'; select it"):
            build(link)

    def test_one_that_fails_costs_no_other_page(self, site: Site, template: Path) -> None:
        (site.pages_dir / "index.md").write_text(HEAD + "Fine.")
        for old, new in (
            ("{params.n}", "{params.m}"),
            ("from rpt_aisles group", "from nowhere group"),
        ):
            template.write_text(TEMPLATED.replace(old, new))
            files = site.build(keep_going=True)
            assert list(site.failures) == ["departments/[department]"]
            assert words(files["index.html"]) == "Test Fine."

    def test_addresses_are_safe_and_differ(self) -> None:
        names = ["Crème & brûlée", "A/B", "a b", "牛乳", "../..", "", None, "x" * 300, "CON"]
        found = addresses("f", names)
        assert found["Crème & brûlée"] == "f/creme-brulee"
        assert found.keys() == {*names} - {None} and len({*found.values()}) == 8
        assert all(re.fullmatch(r"f/[a-z0-9-]{1,67}", address) for address in found.values())
        assert addresses("f", names[::-1]) == found, "whatever the order of the rows"


class TestHashedIds:
    def test_ids_are_hashed_alike_in_every_table(self, tmp_path: Path) -> None:
        for name in ("pages", "queries"):
            (tmp_path / name).mkdir()
        with duckdb.connect(tmp_path / "a.duckdb") as con:
            con.execute("create table rpt_a as select 4711 as user_id, 'x' as name")
            con.execute("create table b as select '4711' as user_id, 3 as n")
            con.execute("create view rpt_b as from b")
            con.execute("create table lost as select 1 as user_id")
            con.execute("create view landed as from lost")
            con.execute("drop table lost")  # as raw files are, after a run
        (tmp_path / "pages" / "index.md").write_text(
            HEAD + "```sql q\nselect user_id, name, n from rpt_a inner join rpt_b using (user_id)\n"
            "```\n<DataTable data=q/>"
        )

        def files(hash_ids: bool) -> tuple[str, str]:
            site = Site(tmp_path / "pages", tmp_path / "queries", tmp_path / "a.duckdb")
            site.hash_ids = hash_ids
            assert site.build() == site.build(), "the same hash as long as the site is the same"
            return site.build()["index.html"], site.build()["downloads/index-q.csv"]

        plain, first, second = files(False), files(True), files(True)
        assert "4711" in plain[0] and "4711" in plain[1]
        for page, table in (first, second):
            assert "4711" not in page + table and "<td" in page, "the join still finds its row"
            assert re.search(r"\n[0-9a-f]{12},x,3\n", table)
        assert first[1] != second[1], "another build has other hashes"


class TestConditions:
    @pytest.mark.parametrize(
        ("condition", "holds"),
        [
            ("one.is_dated", True),
            ("one.is_empty", False),
            ("one.n_count", True),
            ("one.zero", False),
            ("one.day", True),
            ("one.empty_text", False),
            ("not one.is_empty", True),
            ("!one.n_count", False),
            ("one.n_count > 3", False),
            ("one.n_count >= 3", True),
            ("one.a_share<0.3", True),
            ("one.zero == 0", True),
            ("one.zero > -1", True),
            ("one.n_count != 3", False),
            ("one.status == 'fail'", True),
            ('one.status != "pass"', True),
            ("one.empty_text == ''", True),
        ],
    )
    def test_a_condition_reads_the_first_row(
        self, build: Build, condition: str, holds: bool
    ) -> None:
        page = build(f"{ROWS}{{#if {condition}}}yes{{:else}}no{{/if}}")
        assert words(page) == f"Test {'yes' if holds else 'no'}"

    @pytest.mark.parametrize(
        "condition",
        [
            *("one.nothing", "one.unknown", "one.nothing == 0", "one.nothing != 1"),
            *("one.nothing != 'a'", "none.n_count", "none.n_count < 9", "none.status != 'pass'"),
        ],
    )
    def test_a_missing_value_is_false_in_every_comparison(
        self, build: Build, condition: str
    ) -> None:
        page = build(f"{ROWS}{{#if {condition}}}yes{{:else}}no{{/if}}")
        assert words(page) == "Test no"

    def test_not_holds_for_a_missing_value(self, build: Build) -> None:
        page = build(f"{ROWS}{{#if not one.nothing}}a{{/if}}{{#if !none.is_dated}}b{{/if}}")
        assert words(page) == "Test ab"

    def test_the_first_branch_that_holds_is_shown(self, build: Build) -> None:
        body = (
            "{#if one.n_count > %d}a{:else if one.n_count > %d}b{:else if one.zero}c{:else}d{/if}"
        )
        shown = [words(build(ROWS + body % limits))[-1] for limits in ((2, 2), (3, 2), (3, 3))]
        assert shown == ["a", "b", "d"]

    def test_without_else_nothing_is_shown(self, build: Build) -> None:
        page = build(ROWS + "Before.\n\n{#if one.zero}\nNot here.\n{/if}\n\nAfter.")
        assert words(page) == "Test Before. After."

    def test_conditions_can_be_nested(self, build: Build) -> None:
        page = build(
            ROWS + "{#if one.is_dated}a{#if one.zero}b{:else}c{#if one.n_count == 3}d{/if}{/if}e"
            "{:else}f{#if one.is_dated}g{/if}{/if}"
        )
        assert words(page) == "Test acde"

    def test_in_a_sentence(self, build: Build) -> None:
        page = build(
            ROWS + "There {#if one.n_count == 1}is *one* order{:else}are **{one.n_count}** orders"
            "{/if}{#if one.nothing}, on {one.nothing}{/if}."
        )
        assert "<p>There are <strong>" in page and words(page) == "Test There are 3 orders."

    def test_tags_alone_on_a_line_do_not_split_a_paragraph(self, build: Build) -> None:
        page = build(
            ROWS + "First.\n{#if one.is_dated}\nSecond.\n{:else}\nNever.\n{/if}\n"
            "  {#if one.zero}\nNever.\n{/if}\nLast."
        )
        assert "<p>First.\nSecond.\nLast.</p>" in page

    def test_around_components_and_paragraphs(self, build: Build) -> None:
        chart = "<BarChart data=hours x=hour y=low/>"
        page = build(
            f"{ROWS}{{#if one.zero}}\n{chart}\n{{:else}}\n# Head\n\n{chart}\n\nText.\n{{/if}}"
        )
        assert len(figures(page)) == 1 and "<h1>Head</h1>" in page and "<p>Text.</p>" in page

    def test_a_component_that_is_not_shown_may_have_no_rows(self, build: Build) -> None:
        chart = "<BarChart data=none x=n_count y=zero/>"
        page = build(f"{ROWS}{{#if none.n_count}}{chart}{{:else}}No orders.{{/if}}")
        assert words(page) == "Test No orders."

    def test_around_the_parts_of_a_component(self, build: Build) -> None:
        page = build(
            ROWS + "<DataTable data=one>\n<Column id=n_count/>\n{#if one.zero}\n<Column id=zero/>"
            "\n{:else}\n<Column id=status/>\n{/if}\n</DataTable>\n"
            "<Tabs>{#if one.zero}<Tab label=A>a</Tab>{/if}<Tab label=B>b</Tab></Tabs>"
        )
        assert words(page) == "Test one N count Status 3 fail Download one as CSV Views B b"

    def test_inside_a_component(self, build: Build) -> None:
        page = build(ROWS + "<Alert>{#if one.is_dated}a{:else}b{/if}</Alert>")
        assert words(page) == "Test a"

    def test_code_and_comments_hold_no_conditions(self, build: Build) -> None:
        page = build("`{#if one.zero}` `{a b}`\n\n```\n{/if}\n```\n<!-- {#if -->")
        assert words(page) == "Test {#if one.zero} {a b} {/if}"


class TestConditionsOnDropdowns:
    CHOSEN = """
```sql chosen
select count(*) as aisle_count, nullif(${inputs.department}, 'Dairy') as other from ${aisles}
```
```sql departments
select distinct department from rpt_aisles order by department
```
<Dropdown name=department data=departments value=department/>

"""

    def variants(self, page: str) -> list[tuple[str, str]]:
        """The tag and the content of each variant."""
        return re.findall(r'<(\w+) class="variant"[^>]*>(.*?)</\1>', page, re.DOTALL)

    def test_a_sentence(self, build: Build) -> None:
        page = build(self.CHOSEN + "See {#if chosen.other}*{chosen.other}*{/if} here.")
        assert page.count('class="variant"') == 2
        assert '<p>See <span class="variant"' in page
        assert '<em><span class="value">Pantry</span></em></span> here.</p>' in page

    def test_a_line_of_a_paragraph(self, build: Build) -> None:
        page = build(self.CHOSEN + "A.\n{#if chosen.other}\nB.\n{:else}\nC.\n{/if}\nD.")
        assert self.variants(page) == [("span", "C.\n"), ("span", "B.\n")]
        assert "<p>A.\n<span" in page and "B.\n</span>\nD.</p>" in page

    def test_paragraphs_and_components(self, build: Build) -> None:
        chart = "<BarChart data=hours x=hour y=low/>"
        page = build(f"{self.CHOSEN}{{#if chosen.other}}\n{chart}\n{{:else}}\nC.\n{{/if}}\n\nD.")
        assert '<p>C.</p>\n</div><div class="variant"' in page and "<p>D.</p>" in page
        assert len(figures(page)) == 1

    def test_content_that_depends_on_a_dropdown(self, build: Build) -> None:
        page = build(f"{ROWS}{self.CHOSEN}{{#if one.is_dated}}{{chosen.other}}{{/if}}")
        assert [tag for tag, _ in self.variants(page)] == ["span", "span"]

    def test_inside_a_component_that_depends_on_a_dropdown(self, build: Build) -> None:
        page = build(
            f"{self.CHOSEN}<BigValue data=chosen value=aisle_count>"
            "{#if chosen.other}B{:else}C{/if}</BigValue>"
        )
        assert re.findall(r"<p>(\w)</p>", page) == ["C", "B"]


class TestValues:
    def test_a_value_in_braces(self, build: Build) -> None:
        page = build(ROWS + "**{one.a_share}** or {one.a_share:pct0}, {one.day}; {one.nothing}")
        assert '<strong><span class="value">25.0%</span></strong>' in page
        assert words(page) == f"Test 25.0% or 25% , 2 Jan 2018 ; {DASH}"

    def test_a_column_to_another_is_an_interval(self, build: Build) -> None:
        page = build(
            "<DataTable data=aisles><Column id=low to=high fmt=num1/><Column id=aisle/></DataTable>"
        )
        assert ">0.4\u00a0to\u00a00.6</th>" in page, "an interval does not break"
        assert f">{DASH}</th>" in page, "a missing interval is one dash"


class TestPartials:
    def write(self, site: Site, text: str) -> Path:
        path = site.pages_dir / "partials" / "part.md"
        path.parent.mkdir()
        path.write_text(text)
        return path

    def test_a_partial_is_part_of_a_sentence(self, site: Site, build: Build) -> None:
        self.write(site, "{one.n_count}{#if one.is_dated} *dated*{/if} orders\n")
        page = build(ROWS + 'There are {@partial "part.md"}, and {@partial "part.md"}.')
        article = page.partition("<article")[2].partition("</article>")[0]
        assert article.count("<em>dated</em> orders") == 2 and article.count("<p>") == 1

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("a\n{one.colum}", "part.md:2: {one.colum}: no column 'colum'; known: "),
            ("a\n\n<Alert>b", "part.md:3: <Alert> is not closed"),
            ("{/if}", "part.md:1: {/if} belongs to nothing; no {#if} is open"),
            ("```sql q\nselect 1\n```", "part.md:2: a partial has no SQL; move the query to"),
            ('a {@partial "part.md"}', "part.md:1: a partial cannot insert another; remove it"),
        ],
    )
    def test_an_error_names_the_file_of_the_partial(
        self, site: Site, build: Build, text: str, message: str
    ) -> None:
        path = self.write(site, text)
        with pytest.raises(SiteError) as error:
            build(ROWS + '\n\n{@partial "part.md"}')
        assert str(error.value).startswith(f"{path.parent}/{message}")


# A body with an error, marked by », and a part of the message.
FAULTS = [
    ("text\n\n»<BarChrt/>", "<BarChrt>: unknown tag here; did you mean 'BarChart'?"),
    ("»<div>x</div>", "<div>: unknown tag here; known:"),
    ("<Grid>\n»<Value data=aisles colum=x/></Grid>", "'colum'; did you mean 'column'?"),
    ("»<Value data=aisles/>", "<Value>: column= is missing; add it"),
    ("»<Value data=aisle column=x/>", "unknown query 'aisle'; did you mean 'aisles'?"),
    ("»<Value data=aisles column=ale/>", "no column 'ale'; did you mean 'aisle'?"),
    ("»<Value data=aisles column=aisle fmt=pct9/>", "unknown format 'pct9'; did you mean 'pct"),
    (
        "»<Value data=aisles column=aisle fmt=pct1/>",
        "'pct1' does not suit 'aisle', which holds text",
    ),
    ("»<Grid cols=x>a</Grid>", "<Grid>: cols='x' is not a whole number; write one, as in cols=2"),
    ("»<BarChart data=hours x=hour y=weekday/>", "'weekday' holds no numbers; the chart would be"),
    ("»<Alert status=bad>a</Alert>", "'bad' is not possible; known: info"),
    (
        "»<BarChart data=hours x=hour y=low><ReferenceLine label=a/></BarChart>",
        "a ReferenceLine needs a position; add x= or y=",
    ),
    (
        "<DataTable data=aisles>\n»<Column id=aisle contentType=bar/></DataTable>",
        "contentType=bar does not suit 'aisle', which holds text",
    ),
    ("<DataTable data=aisles>\n»<Column id=ale/></DataTable>", "did you mean 'aisle'?"),
    ("»<DataTable data=aisles>\ntext</DataTable>", "<DataTable>: cannot hold text; remove 'text'"),
    ("<Tabs>\n»<Alert>a</Alert></Tabs>", "<Alert>: unknown tag here; known: Tab"),
    ("\n»<Column id=a/>", "<Column>: unknown tag here; known: Alert"),
    ("\n»<Alert>a", "<Alert> is not closed; write <Alert .../>"),
    ("<Alert>\na\n»</Grid>", "</Grid> closes nothing; <Alert> is open"),
    ("a\n»<Alert status=>a</Alert>", "<Alert is not closed; close it"),
    ("a\n»```sql b\nselect 1", "```sql b is not closed; close it"),
    ("»```sql\nselect 1\n```", "an SQL block needs its own name; write ```sql a_name"),
    ("»```sql aisles\nselect 1\n```", "an SQL block needs its own name"),
    (
        "```sql q\nselect\n  1,\n»  nope\nfrom rpt_hours\n```",
        "query 'q' fails: Binder Error: Referenced column \"nope\" not found",
    ),
    ("```sql q\nselect *\n»from rpt_hour\n```", 'Did you mean "rpt_hours"?; correct the SQL'),
    ("```sql q\nselect 1\n»from ${hour}\n```", "unknown query 'hour'; did you mean 'hours'?"),
    (
        "```sql q\nfrom ${r}\n```\n```sql r\nfrom ${s}\n```\n```sql s\n\n»from ${q}\n```",
        "circular queries: q -> r -> s -> q; remove one reference",
    ),
    ("```sql q\n»drop table rpt_hours\n```", "query 'q' fails: Parser Error"),
    ("```sql q\n»select ${inputs.no} as a\n```", "unknown dropdown 'no'; known: none"),
    ("»<Dropdown name=d/>", "<Dropdown>: data= is missing; add it"),
    (
        "<Dropdown name=d data=hours value=hour/>\n»<Dropdown name=d data=hours value=hour/>",
        "two dropdowns are named 'd'; rename one",
    ),
    (
        "```sql q\nselect ${inputs.d} as n\n```\n<Dropdown name=d data=aisles value=aisle/>\n"
        "»<Dropdown name=e data=q value=n/>",
        "query 'q' depends on a dropdown; use one that does not",
    ),
    ("a\n»{hours.ale}", "{hours.ale}: no column 'ale'; known: day_date"),
    ("»{hour.low}", "{hour.low}: unknown query 'hour'; did you mean 'hours'?"),
    ("a\n\n»{low}", "{low} is not a value; write {query.column}, or put it between backticks"),
    ("»{ hours.low }", "{ hours.low } is not a value"),
    ("a\n»{#if hours.low}\n\nb", "{#if hours.low} is not closed; write {/if}"),
    ("a\n»{#if hours.low\nb{/if}", "{#if hours.low is not closed; close it"),
    ("»{#if}a{/if}", "{#if}: '' is not a condition; write query.column, not query.column"),
    ("»{#if hours}a{/if}", "'hours' is not a condition"),
    ("»{#if hours.low = 1}a{/if}", "'hours.low = 1' is not a condition"),
    ("»{#if hours.low > high}a{/if}", "'hours.low > high' is not a condition"),
    ("»{#if not hours.low > 1}a{/if}", "'not hours.low > 1' is not a condition"),
    ("{#if hours.low}a\n»{:else if}b{/if}", "{:else if}: '' is not a condition"),
    ("»{#if hours.lo}a{/if}", "{#if hours.lo}: no column 'lo'; did you mean 'low'?"),
    ("»{#if hour.low}a{/if}", "{#if hour.low}: unknown query 'hour'; did you mean 'hours'?"),
    ("»{#if hours.weekday > 1}a{/if}", "'weekday' is a text column; compare it with a quoted text"),
    ("»{#if hours.low == 'a'}a{/if}", "'low' is a number column; compare it with a number"),
    ("»{#if hours.weekday > 'a'}a{/if}", "> compares numbers; compare text with == or !="),
    ("»{#if hours.day_date == 'a'}a{/if}", "'day_date' is a time column; compare it in the SQL"),
    (
        "```sql q\nselect true as is_a\n```\n»{#if q.is_a == 1}a{/if}",
        "'is_a' is true or false; remove the comparison",
    ),
    ("a\n»{/if}", "{/if} belongs to nothing; no {#if} is open"),
    ("a\n»{:else}", "{:else} belongs to nothing; no {#if} is open"),
    ("<Alert>\n»{:else if hours.low}</Alert>", "belongs to nothing; <Alert> is open"),
    ("{#if hours.low}<Alert>\n»{/if}</Alert>", "{/if} belongs to nothing; <Alert> is open"),
    ("<Alert>{#if hours.low}\n»</Alert>{/if}", "</Alert> closes nothing; {#if hours.low} of line"),
    ("{#if hours.low}\n{:else}\n»{:else}{/if}", "{:else} comes after {:else}; put {:else} last"),
    ("{#if hours.low}{:else}\n»{:else if hours.low}{/if}", "comes after {:else}; put {:else} last"),
    ("»{#each hours}", "unknown {#each hours}; known: {#if ...}, {:else if ...}, {:else}, {/if}"),
    ("{#if hours.low}a\n»{:elif hours.low}{/if}", "unknown {:elif hours.low}; known: {#if ...}"),
    ("{#if hours.low}a{:else}\n»<BarChrt/>{/if}", "<BarChrt>: unknown tag here; did you mean"),
    ("{#if hours.low}{:else}\n»<Alert status=bad/>{/if}", "status='bad' is not possible"),
    (
        "{#if hours.orders_count}a{:else}\n»{hour.low}{/if}",
        "unknown query 'hour'; did you mean 'hours'?",
    ),
    (
        "<DataTable data=hours>{#if hours.low}{:else}\n»<Tab label=a/>{/if}</DataTable>",
        "known: Col",
    ),
    ('a »{@partial "scored.md"}', "no partial 'scored.md'; known: none"),
    (
        "```sql q\nselect ${inputs.d} as n\n```\n<Dropdown name=d data=aisles value=aisle/>\n\n"
        "a\n»{#if q.n}\n\nb\n\nc\n{/if}",
        "{#if q.n}: holds a paragraph or a component, and depends on a dropdown; put empty lines",
    ),
    (
        "```sql q\nselect ${inputs.d} as n\n```\n<Dropdown name=d data=aisles value=aisle/>\n"
        "»<Tabs>{#if q.n}<Tab label=a>b</Tab>{/if}</Tabs>",
        "<Tabs>: {#if q.n} here cannot depend on a dropdown; put it around <Tabs>",
    ),
    (
        "<Alert>\n</Alert>\n»<Alert>See [hours](hour.md).</Alert>",
        "no page hour.md to link to; known: index",
    ),
]


class TestStrictness:
    @pytest.mark.parametrize(("body", "message"), FAULTS)
    def test_an_error_names_the_line(
        self, site: Site, build: Build, body: str, message: str
    ) -> None:
        before, _, after = body.partition("»")
        line = (HEAD + QUERIES + before).count("\n") + 1
        with pytest.raises(SiteError) as error:
            build(before + after)
        assert str(error.value).startswith(f"{site.pages_dir / 'index.md'}:{line}: ")
        assert message in str(error.value)

    @pytest.mark.parametrize(
        "text",
        [
            "no front matter",
            "---\norder: 2\n---\n",
            "---\ntitle: a\norder: b\n---\n",
            "---\ntitel: a\n---\n",
        ],
    )
    def test_front_matter(self, tmp_path: Path, text: str) -> None:
        (tmp_path / "a.md").write_text(text)
        with pytest.raises(SiteError, match=r"a\.md:1: no front matter; begin with ---, title: "):
            parse_page(tmp_path / "a.md")

    def test_empty_message_replaces_an_empty_table(self, build: Build) -> None:
        empty = "```sql q\nfrom rpt_hours where false\n```\n"
        page = build(f'{empty}<DataTable data=q emptyMessage="No row was <rejected>."/>')
        assert '<p class="empty">No row was &lt;rejected&gt;.</p>' in page


class TestLimits:
    """Data never stop a build: what is too much is cut, and the page says so."""

    def test_too_many_rows(self, build: Build) -> None:
        page = build("```sql q\nfrom range(5001) as t (n)\n```\n<DataTable data=q/>")
        assert "The first 5,000 of 5,001 rows." in words(page)
        assert page.count("<tr") == 5_001
        page = build("```sql q\nfrom range(5000) as t (n)\n```\n<DataTable data=q/>")
        assert "The first" not in words(page)

    def test_too_many_bars(self, build: Build) -> None:
        page = build("```sql q\nfrom range(99) as t (n)\n```\n<BarChart data=q x=n y=n swapXY/>")
        assert "The first 50 of 99 rows." in words(page)
        assert len(figures(page)[0]["data"][0]["x"]) == 50

    def test_too_many_series(self, build: Build) -> None:
        sql = "```sql q\nselect hour, low, hour % 7 as kind from ${hours}\n```\n"
        page = build(sql + "<BarChart data=q x=hour y=low series=kind/>")
        assert "The 6 largest of 7 series." in words(page)
        assert [trace["name"] for trace in figures(page)[0]["data"]] == [*"012345"]

    def test_too_many_options(self, build: Build) -> None:
        page = build(
            "```sql n\nfrom range(26) as t (n)\n```\n<Dropdown name=d data=n value=n/>\n"
            "```sql q\nselect ${inputs.d} as a\n```\n{q.a}"
        )
        assert "The first 25 of 26 options." in words(page)
        assert page.count("<option") == page.count('class="variant"') == 25

    def test_several_rows_for_a_cell(self, build: Build) -> None:
        page = build("<Heatmap data=hours x=weekday y=weekday value=low/>")
        assert "Of several rows for one Weekday and Weekday, the last is drawn." in words(page)

    @pytest.mark.parametrize("rows", ["where false", ""])
    def test_nothing_to_show(self, build: Build, rows: str) -> None:
        """Either no row, or rows without a value."""
        page = build(
            "```sql q\nselect hour, null::double as a, null::text as b from rpt_hours "
            f"{rows}\n```\n"
            "<BarChart data=q x=hour y=a/>\n<Heatmap data=q x=hour y=hour value=a/>\n"
            "<Histogram data=q x=a/>\n<LineChart data=q x=hour y=a emptyMessage=None./>\n"
            "<BigValue data=q value=a>of {q.a}</BigValue>\n{q.b:num1}.\n"
            "<BarChart data=hours x=hour y=low><ReferenceLine data=q y=a/></BarChart>\n"
            "<DataTable data=q><Column id=a contentType=bar/><Column id=b/></DataTable>\n"
            "<Dropdown name=d data=q value=b/>\n"
        )
        assert words(page).count("Nothing to show.") == (4 if rows else 3)
        assert "None." in words(page) and f"A {DASH} of {DASH}" in words(page)
        assert len(figures(page)) == 1 and figures(page)[0]["layout"]["shapes"] == []

    def test_the_row_for_all_others_stays_last(self, build: Build) -> None:
        page = build(
            "```sql q\nselect 'a' as name, 2 as n, false as is_rest union all\n"
            "select 'and 9 others', 90, true\n```\n<DataTable data=q rest=is_rest rows=1>"
            "<Column id=name/><Column id=n contentType=bar/></DataTable>"
        )
        body, _, foot = page.partition("<tfoot>")
        assert "--share: 1.0" in body and "and 9 others" not in body and "pager" not in foot
        assert "and 9 others" in foot and "--share" not in foot

    def test_a_long_name_is_cut(self, build: Build) -> None:
        name = "spice " * 30
        page = build(f"```sql q\nselect '{name}' as n\n```\n{{q.n}}\n\n<DataTable data=q/>")
        cut = ("spice " * 19).strip()
        assert page.count(f'title="{name}">{cut}…</span>') == 2, "at the end of a word"


class TestKeepGoing:
    def test_other_pages_are_drawn(self, site: Site) -> None:
        (site.pages_dir / "index.md").write_text(HEAD + "Fine.")
        (site.pages_dir / "more.md").write_text("---\ntitle: More\n---\n<Value data=a column=b/>")
        with pytest.raises(SiteError):
            site.build()
        files = site.build(keep_going=True)
        assert list(site.failures) == ["more"] and "unknown query 'a'" in site.failures["more"]
        assert words(files["index.html"]) == "Test Fine."
        assert "This page could not be drawn: " in words(files["more.html"])
        (site.pages_dir / "more.md").write_text("---\ntitle: More\n---\nRepaired.")
        assert words(site.build()["more.html"]) == "More Repaired." and not site.failures


class TestQueries:
    def test_queries_use_one_another_in_any_order(self, site: Site, build: Build) -> None:
        (site.queries_dir / "shared.sql").write_text("select 3 as n -- a comment")
        page = build(
            "```sql a\nselect sum(n) as total from ${b} as b\n```\n"
            "```sql b\nfrom ${shared} union all from ${shared};\n```\n"
            "<Value data=a column=total/> <Value data=shared column=n/>"
        )
        assert words(page) == "Test 6 3"

    def test_a_page_may_not_hide_a_shared_query(self, site: Site, build: Build) -> None:
        (site.queries_dir / "hours.sql").write_text("select 1 as n")
        with pytest.raises(SiteError, match=r"index\.md:10: 'hours' is a shared query; rename it"):
            build("")


class TestDropdown:
    BODY = """
```sql chosen
from ${aisles} where department like ${inputs.department}
```
```sql count
select count(*) as aisles_count, max(pairs_count) as pairs_count from ${chosen}
```
```sql departments
select '%' as department, 'All & more' as label
union all (select distinct department, department from rpt_aisles order by department)
```
<Dropdown name=department data=departments value=department label=label/>
There are <Value data=count column=aisles_count/> aisles.
"""

    def test_each_option_is_computed_and_the_first_is_shown(self, build: Build) -> None:
        page = build(self.BODY)
        assert re.findall(r'<option value="(.*?)">(.*?)</option>', page) == [
            ("%", "All &amp; more"),
            ("Dairy", "Dairy"),
            ("Pantry", "Pantry"),
        ]
        variants = r'<span class="variant" data-when="(.*?)"( hidden)?><span class="value">(.*?)<'
        found = re.findall(variants, page)
        assert [json.loads(html.unescape(when)) for when, _, _ in found] == [
            {"department": option} for option in range(3)
        ]
        assert [(hidden, value) for _, hidden, value in found] == [
            ("", "4"),
            (" hidden", "2"),
            (" hidden", "2"),
        ]

    def test_a_component_varies_with_its_content(self, build: Build) -> None:
        page = build(
            self.BODY + "<BarChart data=aisles x=aisle y=low>"
            "<ReferenceLine data=count y=pairs_count/></BarChart>"
        )
        lines = [figure["layout"]["shapes"][0]["y0"] for figure in figures(page)]
        assert lines == [900, 900, 300]

    def test_the_content_of_a_component_varies_with_it(self, build: Build) -> None:
        page = build(
            self.BODY + "<BigValue data=count value=pairs_count>"
            "<Value data=count column=aisles_count/></BigValue>"
        )
        notes = re.findall(r'<p class="number">(.*?)</p>\s*<p>(.*?)</p>', page)
        plain = [f'<span class="value">{count}</span>' for count in (4, 2, 2)]
        assert notes == list(zip(("900", "900", "300"), plain, strict=True))

    def test_an_option_is_a_value_not_sql(self, build: Build) -> None:
        page = build(
            "<Dropdown name=d data=aisles value=aisle/>\n"
            "```sql q\nselect count(*) as n from ${aisles} where aisle = '${inputs.d.value}'\n```\n"
            "<Value data=q column=n/>"
        )
        assert re.findall(r'class="value">(\d)', page) == ["1", "1", "1", "1"]


class TestFormats:
    @pytest.mark.parametrize(
        ("name", "value", "text"),
        [
            ("a", None, DASH),
            ("a", 1234, "1,234"),
            ("a", 1234.5678, "1,235"),
            ("a", 12.345, "12.3"),
            ("a", 0.12345, "0.123"),
            ("a", -5, f"{MINUS}5"),
            ("a_num1", -0.04, "0.0"),
            ("a", True, "yes"),
            ("a_share", 0.1234, "12.3%"),
            ("a_count", 1e6, "1,000,000"),
            ("gap_days", 7, "7.0"),
            ("a_pct0", 0.125, "12%"),
            ("a_num2", 2, "2.00"),
            ("year_id", 2018, "2018"),
            ("a_share", "not a number", "not a number"),
        ],
    )
    def test_by_name_and_by_value(self, name: str, value: Any, text: str) -> None:
        assert Field(name, [value]).texts == [text]

    def test_true_and_false_are_text(self) -> None:
        assert Field("a", [True, None, False]).kind == "text"

    def test_dates(self, build: Build) -> None:
        page = build(
            "```sql q\nselect date '2018-01-02' as d, timestamp '2018-01-02 03:04' as t_at\n```\n"
            "<Value data=q column=d/>, <Value data=q column=t_at/>, "
            "<Value data=q column=t_at fmt=date/>"
        )
        assert words(page) == "Test 2 Jan 2018 , 2 Jan 2018 03:04 , 2 Jan 2018"

    def test_a_column_of_nulls_takes_any_format(self) -> None:
        assert Field("a_share", [None]).formatted("date").texts == [DASH]

    def test_a_title_drops_the_format_but_keeps_the_unit(self) -> None:
        titles = [Field(name, []).title for name in ("mean_x_pct1", "gap_days", "pct1")]
        assert titles == ["Mean x", "Gap days", "Pct1"]


class TestSafety:
    def test_markup_in_data_is_escaped(self, build: Build) -> None:
        page = build(
            EVERYTHING
            + "```sql e\nselect aisle, 1 as n from ${aisles} where pairs_count = 300\n```\n"
            "<Value data=e column=aisle/><BigValue data=e value=aisle/>"
            "<BarChart data=e x=aisle y=n/><Heatmap data=e x=aisle y=aisle value=n/>"
        )
        assert "<script>alert" not in page and "<b>co" not in page
        assert words(page).count(EVIL) > 5
        shown = html.escape(EVIL, quote=False)  # Plotly reads markup in its data
        assert figures(page)[-2]["data"][0]["x"] == [shown]

    def test_markdown_cannot_contain_html_images_or_scripts(self, build: Build) -> None:
        page = build("<?x?> ![p](http://example.org/p.png) [j](javascript:alert(1))")
        assert "<?x" not in page and "<img" not in page and 'href="javascript' not in page

    def test_pages_load_nothing_from_elsewhere(self, site: Site, build: Build) -> None:
        build(EVERYTHING)
        files = site.build(standalone=True)
        for name, local in {"index.html": files.keys() & FILES, "standalone.html": set()}.items():
            page = files[name].replace(html.escape(EVIL), "")
            used = re.findall(r'(?:src|href)="([^"#]+)"', page.partition("<main")[0])
            assert used.pop(0).startswith("data:image/svg+xml,")
            assert set(used) == local - {"assets/inter-license.txt"}

    def test_text_and_marks_have_contrast(self) -> None:
        """WCAG 2.2, 1.4.3 and 1.4.11: 4.5 to 1 for text, 3 to 1 for marks."""
        theme = (ASSETS / "theme.css").read_text(encoding="utf-8")
        colours = re.findall(r"--([\w-]+): light-dark\((#\w{6}), (#\w{6})\)", theme)
        for scheme in (1, 2):
            named = {each[0]: each[scheme] for each in colours}
            for ground in ("ground", "surface", "accent-ground"):
                for name in ("text", "muted", "accent", "positive", "caution", "negative"):
                    assert contrast(named[name], named[ground]) >= 4.5, (name, ground, scheme)
            for name in (*(f"series-{n}" for n in range(1, 7)), "edge", "quiet"):
                assert contrast(named[name], named["ground"]) >= 3, (name, scheme)


def contrast(one: str, other: str) -> float:
    """WCAG 2.2's contrast ratio of two colours."""

    def luminance(colour: str) -> float:
        parts = [int(colour[n : n + 2], 16) / 255 for n in (1, 3, 5)]
        red, green, blue = (
            part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts
        )
        return 0.2126 * red + 0.7152 * green + 0.0722 * blue

    dark, light = sorted((luminance(one), luminance(other)))
    return (light + 0.05) / (dark + 0.05)


FILES = {"index.html", "assets/inter-license.txt"}
FILES |= {f"assets/{name}" for name in ("site.css", "site.js", "plotly.min.js")}


class TestFiles:
    def test_pages_share_their_assets_and_link_to_one_another(self, site: Site) -> None:
        (site.pages_dir / "index.md").write_text(HEAD + "See [more](more.md), [card](../card.md).")
        (site.pages_dir / "more.md").write_text("---\ntitle: <More>\norder: 0\n---\n")
        files = site.build()
        assert files.keys() == FILES | {"more.html"}
        page = files["index.html"]
        assert 'See <a href="more.html">more</a>, <a href="../card.md">card</a>.' in page
        links = re.findall(
            r'<a href="(\w+\.html)"( aria-current="page")?>', page.partition("<nav")[2]
        )
        assert links[:2] == [("more.html", ""), ("index.html", ' aria-current="page"')]

    def test_the_menu_has_groups_in_the_order_of_their_first_pages(self, site: Site) -> None:
        for name, group, order in (("index", "B", 1), ("more", "A", 2), ("last", "B", 3)):
            text = f"---\ntitle: {name}\ngroup: {group}\norder: {order}\n---\n"
            (site.pages_dir / f"{name}.md").write_text(text)
        menu = site.build()["index.html"].partition("<nav")[2].partition("</nav>")[0]
        assert re.findall(r"<p>(\w+)</p>|>(\w+)</a>", menu) == [
            ("B", ""),
            ("", "index"),
            ("", "last"),
            ("A", ""),
            ("", "more"),
        ]

    def test_the_footer_names_the_version_the_docs_and_what_a_partial_says(
        self, site: Site
    ) -> None:
        (site.pages_dir / "index.md").write_text(HEAD)
        (site.pages_dir / "partials").mkdir()
        (site.pages_dir / "partials" / "footer.md").write_text("Batch {summary.batch}.")
        (site.queries_dir / "summary.sql").write_text("select 'b1' as batch")
        site.version, site.docs = "1.2", "../docs/README.md"
        foot = site.build()["index.html"].partition("<footer>")[2]
        assert "Batch" in foot and ">b1<" in foot and "Restock 1.2" in foot
        assert '<a href="../docs/README.md">' in foot

    def test_standalone_adds_one_file(self, site: Site) -> None:
        (site.pages_dir / "index.md").write_text(HEAD + "See [more](more.md), [x](other.html).")
        (site.pages_dir / "more.md").write_text("---\ntitle: More\norder: 2\n---\n")
        files = site.build(standalone=True)
        assert files.keys() == FILES | {"more.html", "standalone.html"}
        page = files["standalone.html"]
        assert 'See <a href="#more">more</a>, <a href="other.html">x</a>' in page
        assert '<a class="brand" href="#index">' in page and "plotly.js v" in page
        assert page.count("<script") == page.count("</script>"), "plotly.js contains no script tag"
        assert re.findall(r'<article class="page" id="(\w+)">', page) == ["index", "more"]

    def test_a_second_build_renders_only_what_changed(
        self, site: Site, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        rendered: list[str] = []
        body = Renderer.body

        def counted(renderer: Renderer, value: Any) -> Markup:
            rendered.append(renderer.page.name)
            return body(renderer, value)

        monkeypatch.setattr(Renderer, "body", counted)
        for name in ("index", "more"):
            (site.pages_dir / f"{name}.md").write_text(f"---\ntitle: {name}\n---\n")
        assert site.build() == site.build()
        assert rendered == ["index", "more"]
        (site.pages_dir / "more.md").write_text("---\ntitle: more\n---\nNew text.")
        assert "New text." in site.build()["more.html"]
        assert rendered == ["index", "more", "more"]
        for changed in (site.queries_dir / "shared.sql", site.warehouse):
            changed.write_text("select 1 as n") if changed.suffix == ".sql" else changed.touch()
            site.build()
            assert rendered[-2:] == ["index", "more"]
        assert len(rendered) == 7


def test_watching_reports_each_change(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    looks: list[float] = []
    page, stop = tmp_path / "index.md", Event()

    def look(interval: float) -> bool:
        looks.append(interval)
        if len(looks) == 3:
            page.write_text("newer")
        return len(looks) > 4

    monkeypatch.setattr(stop, "wait", look)
    told = changes(tmp_path, tmp_path / "warehouse", stop=stop)
    page.write_text("new")
    next(told)
    next(told)
    assert len(looks) == 3, "nothing is reported while nothing changes"
    page.unlink()
    next(told)
    assert next(told, None) is None, "the watch ends when it is stopped"


def test_the_readme_documents_every_component_and_attribute() -> None:
    text = README.read_text(encoding="utf-8")
    for tag, definition in COMPONENTS.items():
        assert f"`<{tag}" in text
        for attribute in definition.attributes:
            assert f"`{attribute.name}" in text, f"{attribute.name} of <{tag}>"
    assert BEGIN + reference() + END in text, "run python -m dashboards.site.reference"


def test_every_definition_can_be_drawn() -> None:
    macros = vars(JINJA.get_template("components.html").module)
    for tag, definition in COMPONENTS.items():
        formats = {each.format for each in definition.attributes} - {""}
        assert formats <= {each.name for each in definition.attributes}, tag
        assert tag in PARTS or (definition.template or tag) in macros, tag
        assert not (definition.holds_prose and definition.part), tag
    charts = {tag for tag, each in COMPONENTS.items() if each.template == "Chart"}
    assert charts == TRACES.keys()


def test_a_module_imports_only_those_listed_above_it() -> None:
    table = README.read_text(encoding="utf-8").partition("## Renderer")[2]
    order = re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE)
    modules = {path.stem: path for path in (ROOT / "dashboards/site").glob("[a-z]*.py")}
    assert sorted(order) == sorted(modules)
    for name, path in modules.items():
        text = path.read_text(encoding="utf-8")
        used = re.findall(r"^from \.(\w+) import", text, re.MULTILINE)
        assert set(used) <= set(order[: order.index(name)]), name
        assert not re.search(r"^\s*(?:from|import) ml\b", text, re.MULTILINE), name
