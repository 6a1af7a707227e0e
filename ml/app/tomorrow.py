"""Tomorrow: who will buy, how long a list to write to, and what it is expected to hold."""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pyarrow.csv
import streamlit as st

from ml.app.current import Current
from ml.jobs import marketing

_SUMMARY = "select has_times, batch_id, cutoff_at, window_end_at from rpt_purchase_summary"
_CURVE = """
select 100 * list_share as listed, 100 * recall_share as reached, 'expected' as kind
from rpt_list_sizes
union all
select 100 * test_list_share, 100 * test_recall_share, 'observed on test days'
from rpt_list_sizes
where test_list_share is not null
order by kind, listed
"""
_GAINS = "select * from rpt_list_gains order by cost_share"
_SHARE = st.column_config.NumberColumn(format="percent")
_PER_1000 = st.column_config.NumberColumn(format="%.1f")
_NAMED = {
    "cost_share": _SHARE | {"label": "Cost, of a purchase"},
    "list_count": st.column_config.NumberColumn("On the list"),
    "list_share": _SHARE | {"label": "Of all"},
    "gain_per_1000": _PER_1000 | {"label": "Expected gain"},
    "everyone_gain_per_1000": _PER_1000 | {"label": "Write to everyone"},
    "test_gain_per_1000": _PER_1000 | {"label": "Gain on test days"},
    "test_everyone_gain_per_1000": _PER_1000 | {"label": "Everyone on test days"},
}
_PEOPLE = {
    "user_id": st.column_config.TextColumn("Shopper"),
    "purchase_probability": _SHARE | {"label": "Probability"},
    "rank": st.column_config.NumberColumn("Rank"),
    "decile": st.column_config.NumberColumn("Tenth"),
    "is_held_out": st.column_config.CheckboxColumn("Held out"),
}


def show(now: Current) -> None:
    """Show the page."""
    st.title("Tomorrow")
    (summary,) = now.query(_SUMMARY)
    if not summary["batch_id"]:
        why = (
            "the log is too short or has too few shoppers to learn when they buy"
            if summary["has_times"]
            else "the orders have no times, so nobody can say when a shopper buys"
        )
        st.info(f"There is no list for tomorrow: {why}.")
        return
    times = (f"{summary[name]:%Y-%m-%d %H:%M}" for name in ("cutoff_at", "window_end_at"))
    st.markdown(f"Who buys from {' to '.join(times)}.")
    rule = _rule()
    with TemporaryDirectory() as folder:
        out = Path(folder) / "list.csv"
        written = marketing.write(now.settings, lambda *_: None, out=out, **rule)
        file = out.read_bytes()
    st.markdown(f"{written['note'].removesuffix('.')}.")
    st.download_button("Download the list", file, "list.csv", "text/csv", on_click="ignore")
    people = pyarrow.csv.read_csv(pyarrow.py_buffer(file))
    st.dataframe(people, column_order=list(_PEOPLE), column_config=_PEOPLE, hide_index=True)
    st.info(
        "This list says who will buy, not whom a message makes buy. A tenth of the shoppers is "
        "held out at random, so that you can compare."
    )
    st.subheader("Buyers reached by length of the list")
    st.line_chart(
        now.query(_CURVE),
        x="listed",
        y="reached",
        color="kind",
        x_label="% of the shoppers on the list",
        y_label="% of the buyers on it",
    )
    st.subheader("What a list earns")
    st.markdown(
        "Gain by the cost of a message, in purchases per 1,000 shoppers, if every purchase is "
        "caused by its message."
    )
    st.dataframe(
        now.query(_GAINS), column_order=list(_NAMED), column_config=_NAMED, hide_index=True
    )


def _rule() -> dict[str, Any]:
    """Let the visitor choose the rule of the list."""
    kinds = ("Share of the buyers", "Size", "Cost and gain")
    kind = st.radio("Cut the list by", kinds, horizontal=True)
    if kind == "Size":
        return {"size": st.number_input("Shoppers on the list", min_value=1, value=500)}
    if kind == "Cost and gain":
        left, right = st.columns(2)
        return {
            "cost": left.number_input("Cost of contacting a shopper", min_value=0.0, value=0.1),
            "gain": right.number_input("Gain from a purchase", min_value=0.01, value=1.0),
        }
    return {"recall": st.slider("Share of the buyers, %", 1, 100, 95) / 100}
