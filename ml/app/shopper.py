"""One shopper: what they buy again, what would change that, and what a probability is made of."""

from datetime import datetime
from typing import Any

import streamlit as st

from ml.app.current import Current, Row
from ml.serving import naming, why
from ml.serving.live import Day, Id, Live, Order, Request, RequestError, Scored
from ml.warehouse import connection

_FOUND = 50  # products that have a text in their names, and shoppers who may buy one
_REASONS = 8
_BUYERS = f"""
select user_id, reorder_probability, rank_in_user
from fct_predictions
where product_id = ?
order by reorder_probability desc, user_id
limit {_FOUND}
"""
_WINDOWS = {"purchase": "Buys within 24 hours", "purchase_week": "Buys within 7 days"}
_COLUMNS = {
    "product_name": st.column_config.TextColumn("Product", width="medium"),
    "rank_in_user": st.column_config.NumberColumn("Rank", width="small"),
    "reorder_probability": st.column_config.NumberColumn("Probability", format="percent"),
    "in_basket": st.column_config.CheckboxColumn("Basket", width="small"),
    "reason": st.column_config.TextColumn("Reason", width="large"),
}
_WEEKDAYS = ("Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday")


def show(now: Current) -> None:
    """Show the page."""
    st.title("One shopper")
    user_id = _chosen(now)
    if user_id is None:
        return
    row = now.index.shopper(user_id)
    assert row is not None  # it was found in this index
    before = _scored(now, Request(user_id))
    with st.container(horizontal=True):
        st.metric("Orders", f"{before.known_order_count:,}")
        st.metric("Products", f"{len(before.product_id):,}")
        for task, title in _WINDOWS.items():
            if window := now.index.window(task, row):
                st.metric(title, f"{window['purchase_probability']:.1%}")
    wanted = _what_if(now, user_id, before)
    after = None
    if wanted != Request(user_id):
        request, unknown = naming.request(now.index, wanted)
        if unknown:
            st.warning(f"Left out, because not in the catalogue: {', '.join(map(str, unknown))}.")
        try:
            after = _scored(now, request)
        except RequestError as error:
            st.error(str(error))
            return
    _show_table(now, before, after)
    _show_why(now, user_id, before, after)


def _chosen(now: Current) -> Id | None:
    """Let the visitor name a shopper, or choose one by a product; return the shopper."""
    example = now.index.user_id(0)
    text = st.text_input(
        "Shopper or product",
        key="shopper",
        bind="query-params",
        placeholder=f"ID of a shopper, such as {example}, or part of a product's name",
    ).strip()
    if not text:
        st.info(f"Type the ID of a shopper, such as {example}, or part of the name of a product.")
        return None
    row = now.index.shopper(text)
    if row is not None:
        return now.index.user_id(row)
    products = now.index.named(text, _FOUND)
    if not products:
        st.warning(
            f"No shopper has the ID {text}, and no product has it in its name. Check it, or upload "
            "the shopper's orders on the page A file."
        )
        return None
    left, right = st.columns(2)
    product = left.selectbox("Product", products, format_func=now.index.product_name)
    buyers = now.query(_BUYERS, now.index.product_id(product))
    if not buyers:
        right.info("Nobody bought this product before.")
        return None
    buyer = right.selectbox(
        "Likeliest shoppers",
        buyers,
        format_func=lambda each: (
            f"{each['user_id']}: {each['reorder_probability']:.1%}, rank {each['rank_in_user']}"
        ),
    )
    return buyer["user_id"]


def _scored(now: Current, request: Request) -> Scored:
    """Return the live scores of a request.

    Raises:
        RequestError: it cannot be scored.
    """
    (scored,) = now.published.use(now.index, lambda live: live.score([request]))
    if isinstance(scored, RequestError):
        raise scored
    return scored


def _what_if(now: Current, user_id: Id, before: Scored) -> Request:
    """Let the visitor move the day, and add and drop orders; return the request."""
    has_dates, usual = now.published.use(now.index, lambda live: (live.has_dates, live.day))
    added: list[Order] = st.session_state.setdefault(f"orders of {user_id}", [])
    with st.expander("What if: another day, more orders or fewer"):
        left, right = st.columns(2)
        day = _day(left, has_dates, usual, user_id)
        dropped = right.number_input(
            "Newest orders to leave out",
            min_value=0,
            max_value=max(before.known_order_count - 1, 0),
            key=f"dropped of {user_id}",
        )
        with st.form("order", clear_on_submit=True, border=False):
            order = _order(now, has_dates, usual, before)
            if st.form_submit_button("Add the order") and order:
                added.append(order)
        for number, order in enumerate(added):
            text, button = st.columns([5, 1], vertical_alignment="center")
            text.markdown(f"**{_when(order)}**: {', '.join(_names(now, order))}")
            if button.button("Drop", key=f"drop {number}"):
                del added[number]
                st.rerun()
    known = before.known_order_count - dropped if dropped else None
    return Request(user_id, tuple(sorted(added, key=_time)), day, known)


def _day(place: Any, has_dates: bool, usual: Day, user_id: Id) -> Day:
    """Let the visitor choose the day to predict for; return it if it is not the usual one."""
    if has_dates:
        chosen = place.date_input(
            "Day of the next order", usual[0], format="YYYY-MM-DD", key=f"day of {user_id}"
        )
        return (None, None) if chosen == usual[0] else (chosen, None)
    days = place.number_input(
        "Days from the last order to the next",
        min_value=0,
        max_value=365,
        value=usual[1],
        placeholder="as in the release",
        key=f"day of {user_id}",
    )
    return (None, None) if days == usual[1] else (None, days)


def _order(now: Current, has_dates: bool, usual: Day, before: Scored) -> Order | None:
    """Return the order in the form; None if it has no products."""
    known = [row["product_id"] for row in naming.rows(now.index, before)]
    products = st.multiselect(
        "Products of another order",
        known,
        format_func=lambda each: _name(now, each),
        accept_new_options=True,
        placeholder="Products bought before, or the ID of another",
    )
    if has_dates:
        day = st.date_input("Day of that order", usual[0], format="YYYY-MM-DD")
        if not day or not products:
            return None
        at = datetime(day.year, day.month, day.day)
        return Order(products, ordered_at=at, is_timed=False)
    columns = st.columns(3)
    weekday = columns[0].selectbox("Weekday", range(7), format_func=_WEEKDAYS.__getitem__)
    hour = columns[1].number_input("Hour", min_value=0, max_value=23, value=12)
    gap = columns[2].number_input(
        "Days after the order before", min_value=0, max_value=365, value=7
    )
    order = Order(products, order_dow=weekday, order_hour=hour, days_since_prior_order=gap)
    return order if products else None


def _time(order: Order) -> datetime:
    return order.ordered_at or datetime.min


def _when(order: Order) -> str:
    if order.ordered_at:
        return f"{order.ordered_at:%Y-%m-%d}"
    return f"{_WEEKDAYS[order.order_dow or 0]}, {order.days_since_prior_order} days later"


def _names(now: Current, order: Order) -> list[str]:
    return [_name(now, product_id) for product_id in order.product_ids]


def _name(now: Current, product_id: Id) -> str:
    row = now.index.product(product_id)
    return str(product_id) if row is None else now.index.product_name(row)


def _show_table(now: Current, before: Scored, after: Scored | None) -> None:
    """Show the products by rank; with what would change beside what is."""
    if after is None:
        st.subheader("What they buy next")
        rows = naming.rows(now.index, before)
        st.dataframe(rows, column_order=list(_COLUMNS), column_config=_COLUMNS, hide_index=True)
        return
    st.subheader("Before and after")
    earlier = {row["product_id"]: row for row in naming.rows(now.index, before)}
    compared = ("reorder_probability", "rank_in_user", "in_basket", "reason")
    rows = [
        row | {f"{name} before": earlier.get(row["product_id"], {}).get(name) for name in compared}
        for row in naming.rows(now.index, after)
    ]
    config: Row = {"product_name": _COLUMNS["product_name"]}
    for name in compared:
        for key, when in ((f"{name} before", "before"), (name, "after")):
            config[key] = _COLUMNS[name] | {"label": f"{_COLUMNS[name]['label']} {when}"}
    st.dataframe(rows, column_order=list(config), column_config=config, hide_index=True)


def _show_why(now: Current, user_id: Id, before: Scored, after: Scored | None) -> None:
    """Show what the probability of a product is made of, in words."""
    st.subheader("What a probability is made of")
    options = [row["product_id"] for row in naming.rows(now.index, after or before)]
    if not options:
        st.info("The shopper bought nothing before.")
        return
    product_id = st.selectbox("Product", options, format_func=lambda each: _name(now, each))
    with connection.connect(now.settings, read_only=True) as con:
        bought = why.history(con, user_id, product_id)
    for column, (title, scored) in zip(
        st.columns(2) if after else [st.container()],
        {"Before": before, "After": after}.items() if after else [("", before)],
        strict=True,
    ):
        with column:
            if title:
                st.markdown(f"**{title}**")
            _show_parts(now, product_id, scored)
    if bought:
        with st.expander(f"The {len(bought):,} purchases in the release"):
            st.dataframe(bought[::-1], hide_index=True)


def _show_parts(now: Current, product_id: Id, scored: Scored | None) -> None:
    """Show what moves the probability of a product most."""
    if scored is None or product_id not in scored.product_id:
        st.info("Not bought before, so it has no probability.")
        return

    def made_of(live: Live) -> Row:
        return why.made_of(live, scored, product_id)

    parts = now.published.use(now.index, made_of)
    at = scored.product_id.index(product_id)
    st.markdown(f"{scored.probability[at]:.1%}: {scored.reason[at]}")
    if parts["base_probability"] is None:
        st.info("Only gradient boosting has contributions.")
        return
    st.markdown(
        f"{parts['base_probability']:.1%} on average. The features make that "
        f"{parts['uncalibrated_probability']:.1%}, and calibration {scored.probability[at]:.1%}."
    )
    st.markdown("\n".join(f"- {part['in_words']}" for part in parts["contributions"][:_REASONS]))
    with st.expander("All features"):
        st.dataframe(parts["contributions"], hide_index=True)
