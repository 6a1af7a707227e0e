"""Notes on an event log: ids that stand for many shoppers, late events, events without orders."""

from __future__ import annotations

import duckdb

from ml.sources.event_selection import PURCHASES

_MANY_SHOPPERS = 1_000
_HEAVY_SHARE, _HEAVY_SHARE_OF_FEW = 0.01, 0.1
_HEAVY_TIMES = 3


def tell_heavy(con: duckdb.DuckDBPyConnection, notes: list[str]) -> None:
    """Add a note for each ID with so many events that it may stand for many shoppers."""
    con.execute(
        "create temp table shopper_events as "
        "select user_id, count(*) as events from kept_events group by user_id"
    )
    shoppers, events = con.execute("select count(*), sum(events) from shopper_events").fetchall()[0]
    share = _HEAVY_SHARE if shoppers >= _MANY_SHOPPERS else _HEAVY_SHARE_OF_FEW
    heavy = con.execute(
        "select user_id, events from shopper_events where events > ? order by events desc limit 3",
        [(events or 0) * max(share, _HEAVY_TIMES / max(shoppers, 1))],
    ).fetchall()
    if heavy:
        listed = ", ".join(f'"{user}" ({count:,}, {count / events:.0%})' for user, count in heavy)
        ids = ", ".join(f'"{user}"' for user, _ in heavy)
        notes.append(
            f"Shoppers with very many of the {events:,} events: {listed}. If an id is that of "
            f"visitors who are not logged in, add skip_shoppers = [{ids}] under [reading] in "
            "restock.toml."
        )


def tell_late(con: duckdb.DuckDBPyConnection, notes: list[str]) -> None:
    """Add a note on events that were received on a later day."""
    late, latest = con.execute(
        """
        select count(*), max(known_at - occurred_at)
        from kept_events
        where known_at::date > occurred_at::date
        """
    ).fetchall()[0]
    if late:
        days = latest.total_seconds() / 86_400
        notes.append(
            f"{late:,} events were received on a later day, up to {days:.1f} days late. They count "
            "as known from then on."
        )


def tell_strangers(con: duckdb.DuckDBPyConnection, notes: list[str]) -> None:
    """Add a note if no shopper of the events has an order."""
    known, event_user, order_user = con.execute(
        """
        select
            count(placed.user_id), min(shopper_events.user_id), (select min(user_id) from placed)
        from shopper_events
        left join (select distinct user_id from placed) as placed using (user_id)
        """
    ).fetchall()[0]
    if not known and event_user is not None:
        notes.append(
            "No shopper of the events has an order: ids of the events look like "
            f'"{event_user}", and those of the orders like "{order_user}". Export both with the '
            "same user_id."
        )


def tell_unordered(con: duckdb.DuckDBPyConnection, notes: list[str]) -> None:
    """Add notes on purchase events that do not match the orders."""
    con.execute(
        f"""
        create temp table logged_purchases as
        select user_id, occurred_at, last.first_at - occurred_at as delay
        from (
            select distinct user_id, occurred_at, occurred_at + interval 1 day as until
            from events
            anti join doubles using (at_row)
            where reason = '{PURCHASES}'
        )
        asof left join (select user_id as shopper, first_at from placed) as last
            on user_id = last.shopper and until >= last.first_at
        """
    )
    total, unordered = con.execute(
        "select count(*), count_if(coalesce(delay < interval (-1) day, true)) from logged_purchases"
    ).fetchall()[0]
    if unordered:
        notes.append(
            f"{unordered:,} of {total:,} purchase events have no order of their shopper within a "
            "day. Purchases come from the orders only."
        )
    hours = con.execute(
        """
        select round(epoch(delay) / 3600)::integer as hours, count(*)
        from logged_purchases
        where delay >= interval (-1) day
        group by hours
        order by count(*) desc, hours
        limit 1
        """
    ).fetchall()
    if hours and hours[0][0] and hours[0][1] * 2 > total:
        shift, count = hours[0]
        which = "after" if shift > 0 else "before"
        notes.append(
            f"{count:,} of {total:,} orders are {abs(shift)} hours {which} their purchase event. "
            "Check that the times of the events and the orders are on the same clock."
        )
