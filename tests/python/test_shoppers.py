"""The segments and lists of shoppers on the two real data sets."""

from collections import defaultdict
from datetime import date

import duckdb
import pytest
from conftest import Place, needs_shared_data

pytestmark = pytest.mark.slow

SEGMENTS = {"lost", "new", "at risk", "needs attention", "champion", "loyal", "occasional"}


@pytest.fixture(
    params=["complete_journey", pytest.param("instacart_sample", marks=needs_shared_data)]
)
def shop(request: pytest.FixtureRequest) -> Place:
    return request.getfixturevalue(request.param)


def members(place: Place, rank: str) -> set[int]:
    return {user for (user,) in place.query(f"select user_id from rpt_shoppers where {rank} > 0")}


def test_lists_exclude_one_another(shop: Place) -> None:
    likely, largest, drifting = (
        members(shop, f"{name}_rank") for name in ("likely", "units", "drifting")
    )
    away = "select user_id from fct_shoppers where segment in ('at risk', 'needs attention')"
    lost = "select user_id from fct_shoppers where segment = 'lost'"
    assert drifting == {user for (user,) in shop.query(away)} != set()
    assert not (likely | largest) & (drifting | {user for (user,) in shop.query(lost)})
    assert likely <= largest != set()
    # Instacart has no dates, so nobody can say what is this week.
    has_dates = shop.query("select max(ordered_at) is not null from fct_orders") == [(True,)]
    assert bool(likely) == has_dates
    dated = shop.query("select count(next_order_on) > 0 from fct_shoppers")
    assert dated == [(has_dates,)]


def test_no_segment_holds_most_shoppers(shop: Place) -> None:
    shares = dict(shop.query("select segment, shopper_share from rpt_shopper_segments"))
    assert shares.keys() == SEGMENTS
    assert sum(shares.values()) == pytest.approx(1)
    assert max(shares.values()) < 0.4 and min(shares.values()) > 0.01


def test_bounds_cut_off_the_shares_that_the_page_names(shop: Place) -> None:
    ((late, lost, champions, loyal),) = shop.query(
        """
        select
            avg((days_since_prior_order > late_ratio * rhythm_days)::int),
            avg((days_since_prior_order > lost_ratio * rhythm_days)::int),
            (
                select avg((weekly_value >= champion_weekly_value)::int)
                from shopper_rhythms, segment_bounds where order_count >= 5
            ),
            (
                select avg((usual_gap_days <= loyal_gap_days)::int)
                from shopper_rhythms, segment_bounds where order_count >= 5
            )
        from fct_orders
        inner join shopper_rhythms using (user_id)
        cross join segment_bounds
        where order_count >= 5 and not is_open and days_since_prior_order is not null
        """
    )
    assert late == pytest.approx(1 / 20, abs=0.003)
    assert lost == pytest.approx(1 / 200, abs=0.001)
    assert champions == pytest.approx(1 / 3, abs=0.01)
    assert loyal == pytest.approx(2 / 3, abs=0.01)


def test_the_value_at_stake_is_what_the_raw_lines_add_up_to(complete_journey: Place) -> None:
    """Counted again from the landed lines: all orders between the first and the last."""
    lines = complete_journey.folder / "restock.duckdb.landing" / "order_lines.parquet"
    orders: dict[int, list[tuple[date, float]]] = defaultdict(list)
    with duckdb.connect() as con:
        for user, day, spend in con.execute(
            f"select user_id, min(ordered_at)::date, sum(sales_value) from '{lines}' "
            "group by user_id, order_id order by user_id, min(ordered_at), order_id"
        ).fetchall():
            orders[user].append((day, float(spend)))

    def weekly(history: list[tuple[date, float]]) -> float:
        days = (history[-2][0] - history[0][0]).days
        return 7 * sum(spend for _, spend in history[1:-1]) / max(days, 7)

    drifting = members(complete_journey, "drifting_rank")
    ((stake,),) = complete_journey.query(
        "select sum(weekly_spend) from rpt_shopper_segments where is_drifting"
    )
    assert stake == pytest.approx(sum(weekly(orders[user]) for user in drifting), rel=0.001)


def test_dates_of_next_orders_are_closer_than_with_the_mean_gap(complete_journey: Place) -> None:
    ((count, median),) = complete_journey.query(
        "select order_count, median_error_days from rpt_next_order_check"
    )
    ((tests, of_means),) = complete_journey.query(
        """
        select count(*), median(abs(days_since_prior_order - round(user_gap_mean_days)))
        from targets inner join feat_users using (cutoff, user_id)
        where cutoff = 1 and split = 'test'
        """
    )
    assert count == tests > 500
    assert median < of_means
