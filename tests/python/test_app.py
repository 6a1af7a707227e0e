"""The app: every page shows what the API, the list and the tables say, of one release."""

import csv
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from conftest import Place
from streamlit.testing.v1 import AppTest
from test_lists import days_later, first_day

from ml.app import server
from ml.app.current import current
from ml.errors import SettingsError
from ml.registry.links import replace_link
from ml.serving import naming, why
from ml.serving.index import Index
from ml.serving.live import Live, Order, Request, Scored
from ml.settings import Settings

__all__ = ["days_later", "first_day"]  # fixtures
pytestmark = pytest.mark.slow

KEY = "a long and random text"
PAGE = """
from ml.app import main, {name}
from ml.settings import Settings
main.show_page(Settings.load(), {name}.show)
"""
Open = Callable[..., AppTest]


@pytest.fixture
def open_page(monkeypatch: pytest.MonkeyPatch) -> Open:
    """Return a function that opens the app, or one of its pages alone, on a place."""

    def opened(place: Place, name: str = "", **variables: str) -> AppTest:
        for variable, value in {"RESTOCK_WAREHOUSE": str(place.warehouse), **variables}.items():
            monkeypatch.setenv(variable, value)
        app = AppTest.from_string(PAGE.format(name=name)) if name else AppTest.from_file(SCRIPT)
        app.default_timeout = 60
        return seen(app)

    return opened


SCRIPT = str(server.SCRIPT)


def seen(changed: Any) -> AppTest:
    """Run the app again, whole or after a change of a widget. Nothing may go wrong in it."""
    # Streamlit leaves its script there, and later processes of the test run would start with it.
    ours = sys.modules["__main__"]
    app: AppTest = changed.run()
    sys.modules["__main__"] = ours
    assert not app.exception, app.exception
    return app


class Shop:
    """What the pages should show of a place."""

    def __init__(self, place: Place) -> None:
        release = place.warehouse.resolve().parent
        self.index = Index((release / "index").resolve())
        batch = self.index.batches["reorder"]
        assert batch
        self.batch_id = batch.batch_id
        self.live = Live(Settings.load(warehouse=place.warehouse), batch.model_version)

    def rows(self, request: Request) -> list[dict[str, Any]]:
        (scored,) = self.live.score([request])
        assert isinstance(scored, Scored), scored
        return naming.rows(self.index, scored)


@pytest.fixture(scope="module")
def shop(published: Place) -> Iterator[Shop]:
    opened = Shop(published)
    yield opened
    opened.live.close()


def table(app: AppTest, number: int = 0) -> list[dict[str, Any]]:
    return app.dataframe[number].value.to_dict("records")


def test_a_shopper_has_the_scores_of_the_index(
    published: Place, shop: Shop, open_page: Open
) -> None:
    user_id = shop.index.user_id(7)
    app = open_page(published)
    assert "Type the ID of a shopper" in app.info[0].value and shop.batch_id in app.caption[0].value
    seen(app.text_input(key="shopper").set_value(f" {user_id} "))
    published_rows = shop.index.predictions(7, 1_000_000)
    assert [row | {"reason": None} for row in table(app)] == [
        row | {"reason": None} for row in published_rows
    ]
    assert [row["reason"] for row in table(app)][:5] == [row["reason"] for row in published_rows][
        :5
    ]
    first = published_rows[0]["product_id"]
    (scored,) = shop.live.score([Request(user_id)])
    assert isinstance(scored, Scored)
    parts = why.made_of(shop.live, scored, first)
    (said,) = (text.value for text in app.markdown if text.value.startswith("- odds x"))
    assert said.split("\n")[0] == f"- {parts['contributions'][0]['in_words']}"


def test_what_if_puts_before_and_after_side_by_side(
    published: Place, shop: Shop, open_page: Open
) -> None:
    user_id, before = shop.index.user_id(7), shop.rows(Request(shop.index.user_id(7)))
    app = open_page(published)
    seen(app.text_input(key="shopper").set_value(str(user_id)))

    def check(request: Request) -> None:
        after, shown = shop.rows(request), table(app)
        assert [{key: row[key] for key in after[0]} for row in shown] == after
        of = {row["product_id"]: row for row in before}
        for row in shown:
            earlier = of.get(row["product_id"])
            if earlier:
                assert row["reorder_probability before"] == earlier["reorder_probability"]
                assert row["reason before"] == earlier["reason"]

    seen(app.number_input(key=f"day of {user_id}").set_value(21))
    check(Request(user_id, day=(None, 21)))
    seen(app.number_input(key=f"day of {user_id}").set_value(None))
    assert "reason before" not in table(app)[0]

    (scored,) = shop.live.score([Request(user_id)])
    assert isinstance(scored, Scored)
    seen(app.number_input(key=f"dropped of {user_id}").set_value(2))
    check(Request(user_id, known_orders=scored.known_order_count - 2))
    seen(app.number_input(key=f"dropped of {user_id}").set_value(0))

    product_id = before[-1]["product_id"]
    app.multiselect[0].set_value([product_id, "no product"])
    seen(app.button(key="FormSubmitter:order-Add the order").click())
    assert "no product" in app.warning[0].value
    order = Order([product_id], order_dow=0, order_hour=12, days_since_prior_order=7)
    check(Request(user_id, [order]))
    seen(app.button(key="drop 0").click())
    assert not app.warning and "reason before" not in table(app)[0]


def test_a_shopper_is_found_by_a_product(published: Place, shop: Shop, open_page: Open) -> None:
    product = shop.index.product(shop.index.predictions(7, 1)[0]["product_id"])
    assert product is not None
    app = open_page(published)
    seen(app.text_input(key="shopper").set_value(shop.index.product_name(product).upper()))
    product_id = shop.index.product_id(product)
    ((user_id, probability),) = published.query(
        "select user_id, reorder_probability from fct_predictions "
        f"where product_id = {product_id} order by reorder_probability desc, user_id limit 1"
    )
    assert app.selectbox[1].options[0].startswith(f"{user_id}: {probability:.1%}")
    seen(app.text_input(key="shopper").set_value("nobody"))
    assert "No shopper has the ID nobody" in app.warning[0].value


def test_a_shop_without_dates_has_neither_a_list_nor_files(
    published: Place, open_page: Open
) -> None:
    assert "no times" in open_page(published, "tomorrow").info[0].value
    assert "no dates" in open_page(published, "scored_file").info[0].value


@pytest.mark.parametrize(
    "rule", [("--recall", "0.8"), ("--size", "20"), ("--cost", "1", "--gain", "4")]
)
def test_tomorrow_is_the_list_of_restock_list(
    days_later: Place, open_page: Open, tmp_path: Path, rule: tuple[str, ...]
) -> None:
    written = days_later.restock("list", *rule, "--out", tmp_path / "list.csv")["list"]
    app = open_page(days_later, "tomorrow")
    if rule[0] == "--size":
        seen(app.radio[0].set_value("Size"))
        seen(app.number_input[0].set_value(20))
    elif rule[0] == "--cost":
        seen(app.radio[0].set_value("Cost and gain"))
        app.number_input[0].set_value(1.0)
        seen(app.number_input[1].set_value(4.0))
    else:
        seen(app.slider[0].set_value(80))
    assert any(written["note"] in text.value for text in app.markdown)
    with (tmp_path / "list.csv").open() as file:
        ids = [row["user_id"] for row in csv.DictReader(file)]
    assert [str(row["user_id"]) for row in table(app)] == ids and ids
    assert len(table(app, 1)) == len(days_later.query("from rpt_list_gains"))


def test_a_file_is_scored_as_the_shopper_would_be(days_later: Place, open_page: Open) -> None:
    shop = Shop(days_later)
    user_id = shop.index.user_id(3)
    ((newest, product_id),) = days_later.query(
        "select max(ordered_at), min(product_id) from fct_order_items inner join fct_orders "
        f"using (order_id) where fct_orders.user_id = {user_id}"
    )
    lines = [
        ("user_id", "order_id", "ordered_at", "product_id"),
        (user_id, "a", newest.isoformat(), product_id),
        (user_id, "a", newest.isoformat(), "-5"),
        (999_999, "b", "2024-01-01", product_id),
        (shop.index.user_id(4), "c", "2001-01-01", product_id),
    ]
    text = "\n".join(",".join(map(str, line)) for line in lines)
    app = open_page(days_later, "scored_file")
    seen(app.file_uploader[0].upload("mine.csv", text.encode()))
    rows = table(app)
    expected = shop.rows(Request(user_id, [Order([product_id], newest)]))
    own = [row for row in rows if str(row.pop("user_id")) == str(user_id)]
    assert own == expected
    assert len(rows) == len(own) + 1  # of the shopper whom the release does not have
    (said,) = (each.value for each in app.warning)
    assert "does not have -5" in said and "older than the newest known order" in said
    bad = text.replace("2024-01-01", "2024-13-01")
    seen(app.file_uploader[0].set_value(("mine.csv", bad.encode(), "text/csv")))
    assert "mine.csv, line 4, column ordered_at" in app.error[0].value and not app.dataframe
    shop.live.close()


def test_how_it_is_going_has_the_figures_of_the_tables(days_later: Place, open_page: Open) -> None:
    app = open_page(days_later, "quality")
    live = days_later.query("select order_count from rpt_live_summary where is_production")
    assert [metric.value for metric in app.metric[:1]] == [f"{count:,}" for (count,) in live[:1]]
    features = days_later.query("from rpt_drift where kind <> 'context'")
    decisions = days_later.query("from rpt_decisions")
    sizes = [len(frame.value) for frame in app.dataframe]
    assert len(features) in sizes and len(decisions) in sizes


def test_the_app_follows_a_release_and_a_rollback(
    published_twice: Place, place: Place, open_page: Open
) -> None:
    shutil.copytree(published_twice.folder, place.folder, dirs_exist_ok=True, symlinks=True)
    folders = sorted(Path(f"{place.warehouse}.releases").iterdir())
    app = open_page(place)
    now = current(Settings.load(warehouse=place.warehouse))
    for folder in [*folders, *folders]:
        replace_link(Path(f"{place.warehouse}.current"), folder)
        batch = Index((folder / "index").resolve()).batches["reorder"]
        assert batch and batch.batch_id in seen(app).caption[0].value
    assert now.is_outdated()


def test_before_the_first_run_the_app_says_what_to_do(place: Place, open_page: Open) -> None:
    assert "Run `restock run`" in open_page(place).error[0].value


def test_a_key_is_required_where_one_is_set(published: Place, open_page: Open) -> None:
    app = open_page(published, RESTOCK_API_KEY=KEY)
    assert not app.title
    seen(app.text_input[0].set_value("another"))
    assert not app.title and "not the key" in app.error[0].value
    seen(app.text_input[0].set_value(KEY))
    assert app.title[0].value == "One shopper"


def test_other_machines_are_let_in_only_with_a_key(
    published: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = replace(Settings.load(warehouse=published.warehouse), api_key="")
    with pytest.raises(SettingsError, match="Set RESTOCK_API_KEY"):
        server.serve(settings, host="0.0.0.0", port=0)
    monkeypatch.setitem(sys.modules, "streamlit", None)
    with pytest.raises(SettingsError, match=r"pip install 'restock\[app\]'"):
        server.serve(settings, host="127.0.0.1", port=0)
