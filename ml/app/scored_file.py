"""A file: order lines in, scored pairs out."""

import csv
import io
from functools import partial
from typing import Any

import streamlit as st

from ml.app.current import Current
from ml.serving import order_file

_COLUMNS = (
    *("user_id", "product_id", "product_name", "reorder_probability", "rank_in_user"),
    *("in_basket", "reason", "batch_id"),
)
_SHOWN = 1000


def show(now: Current) -> None:
    """Show the page."""
    st.title("A file")
    if not now.published.use(now.index, lambda live: live.has_dates):
        st.info("The orders of this shop have no dates, so a file of dated orders cannot follow.")
        return
    st.markdown(
        "Order lines in, scored pairs out. The file needs the columns `user_id`, `order_id`, "
        "`ordered_at` and `product_id`. If the release has the shopper, the orders must be newer "
        "than those that it has. Otherwise they are the whole history."
    )
    file = st.file_uploader("Order lines", type=[each[1:] for each in order_file.SUFFIXES])
    if file is None:
        return
    requests = order_file.read(now.settings, file.name, file.getvalue())
    text = io.StringIO()
    writer = csv.DictWriter(text, _COLUMNS)
    writer.writeheader()
    shown: list[dict[str, Any]] = []
    bar = st.progress(0.0)
    for done in range(0, len(requests), order_file.SHOPPERS_TOGETHER):
        bar.progress(done / len(requests), f"Scored {done:,} of {len(requests):,} shoppers")
        together = requests[done : done + order_file.SHOPPERS_TOGETHER]
        rows, problems = now.published.use(
            now.index, partial(order_file.score, index=now.index, requests=together)
        )
        writer.writerows(row | {"batch_id": now.batch.batch_id} for row in rows)
        shown += rows[: _SHOWN - len(shown)]
        if problems:
            st.warning("\n".join(f"- {problem}" for problem in problems))
    bar.empty()
    if not shown:
        return
    st.download_button(
        "Download the scores", text.getvalue(), "scores.csv", "text/csv", on_click="ignore"
    )
    st.markdown(f"The first {len(shown):,} pairs:")
    st.dataframe(shown, hide_index=True)
