"""Weekly demand: units per product, aisle and department, and the weeks that test the forecast."""

import pytest
from conftest import Place

pytestmark = pytest.mark.slow


def test_the_naive_forecast_is_published_where_it_is_better(complete_journey: Place) -> None:
    rows = complete_journey.query(
        "select level, size, method, error_share, shopper_error_share, naive_error_share, "
        "better_week_count, week_count from rpt_demand_check where size <> '5 or more'"
    )
    assert {(level, size) for level, size, *_ in rows} >= {
        (level, size) for level in ("product", "aisle") for size in ("5 to 19", "20 or more")
    }
    for *_, method, published, shoppers, naive, better, weeks in rows:
        assert weeks == 4
        is_better = shoppers < naive and 2 * better > weeks
        assert method == ("shoppers" if is_better else "naive")
        assert published == (shoppers if is_better else naive)


def test_errors_are_below_naive_and_intervals_hold(complete_journey: Place) -> None:
    rows = complete_journey.query(
        "select level, error_share, naive_error_share, trend_error_share, within_share "
        "from rpt_demand_check where level <> 'department' and size = '5 or more'"
    )
    assert len(rows) == 2
    for level, published, naive, trend, within in rows:
        assert published < naive < trend, level
        assert 0.92 < within < 0.98, level


def test_closed_weeks_count_what_was_sold(complete_journey: Place) -> None:
    """Sums over all products, counted here without the models."""
    landing = complete_journey.folder / "restock.duckdb.landing" / "order_lines.parquet"
    forecast = complete_journey.query(
        "select cutoff_at, sum(sold_units), sum(naive_units) from demand_weeks "
        "where not is_coming group by cutoff_at order by cutoff_at"
    )
    counted = complete_journey.query(
        f"""
        with lines as (
            select tested.cutoff_at, quantity, cast(
                cast(tested.cutoff_at as date) - cast(min(ordered_at) over (
                    partition by order_id, tested.cutoff_at
                ) as date) as integer
            ) as days_before
            from '{landing}' as lines
            inner join ml.purchase_week_test_predictions as tested using (user_id)
        )
        select
            cutoff_at,
            sum(quantity) filter (days_before between -6 and 0),
            sum(quantity) filter (days_before between 1 and 28) / 4
        from lines group by cutoff_at order by cutoff_at
        """
    )
    assert len(forecast) == 4
    for (day, sold, naive), (same_day, *expected) in zip(forecast, counted, strict=True):
        assert day == same_day
        assert [sold, naive] == pytest.approx([float(units) for units in expected])


def test_the_week_to_come_follows_the_scores(complete_journey: Place) -> None:
    ((products, start),) = complete_journey.query(
        "select count(*), min(cutoff_at) from fct_demand where level = 'product'"
    )
    assert complete_journey.query("select distinct cutoff_at from fct_weekly_propensity") == [
        (start,)
    ]
    assert products > 10_000
    assert complete_journey.query(
        "select count(*) from fct_demand where not low_units <= expected_units "
        "or not expected_units <= high_units or not first_time_share between 0 and 1"
    ) == [(0,)]


def test_orders_without_dates_have_shoppers_and_no_demand(published: Place) -> None:
    assert published.query("select count(*) from fct_demand") == [(0,)]
    page = (published.folder / "pages" / "demand.html").read_text()
    assert "shoppers expected to buy again" in page and "Forecast from" not in page
    assert published.query("select sum(expected_shoppers) from fct_expected_shoppers") == [
        pytest.approx(total)
        for total in published.query("select sum(reorder_probability) from fct_predictions")
    ]
