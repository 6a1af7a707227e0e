"""How it is going: the quality of what was predicted, drift, and decisions about models."""

import streamlit as st

from ml.app.current import Current

_LIVE = "select * from rpt_live_summary where is_production"
_WEEKS = "select * from rpt_live_quality order by week_start_at, model_version"
_F1 = """
select week_start_at, mean_f1_share as f1, 'orders that came' as figure from rpt_live_quality
where (select count(distinct week_start_at) from rpt_live_quality) > 1
union all
select week_start_at, promised_mean_f1_share, 'promised' from rpt_live_quality
where (select count(distinct week_start_at) from rpt_live_quality) > 1
order by figure, week_start_at
"""
_DRIFT = """
select
    replace(feature, '_', ' ') as feature, task, kind, psi, threshold, is_drifting,
    trained_median, current_median, trained_missing_share, current_missing_share
from rpt_drift
where kind <> 'context'
order by psi desc, task, feature
"""
_DECISIONS = "select * from rpt_decisions order by recency_rank"
_RULES = "select * from rpt_retrain_rules order by is_fired desc, rule"
_GRADES = {
    "Mean F1": "mean_f1_share",
    "Precision at 5": "precision_at_5_share",
    "Log-loss": "log_loss",
}
_DECIDED = ("decided_at", "task", "decision", "rules", "reason", "decided_by", "challenger")


def show(now: Current) -> None:
    """Show the page."""
    st.title("How it is going")
    quality, drift, decisions = st.tabs(["Live quality", "Drift", "Decisions"])
    with quality:
        _show_quality(now)
    with drift:
        _show_drift(now)
    with decisions:
        _show_decisions(now)


def _show_quality(now: Current) -> None:
    """Show what became of predictions once the shoppers ordered."""
    st.markdown("When a shopper orders, the prediction that was published for them is graded.")
    found = now.query(_LIVE)
    if not found:
        st.info("No order has come yet for the model in production.")
        return
    (live,) = found
    with st.container(horizontal=True):
        st.metric("Orders graded", f"{live['order_count']:,}")
        for title, name in _GRADES.items():
            promised = live[f"promised_{name}"]
            st.metric(
                title,
                f"{live[name]:.3f}",
                None if promised is None else f"{promised:.3f} promised",
                delta_color="off",
                delta_arrow="off",
            )
    if f1 := now.query(_F1):
        st.line_chart(f1, x="week_start_at", y="f1", color="figure", x_label="", y_label="mean F1")
    else:
        st.info("A chart by week begins in the second week with graded orders.")
    with st.expander("All figures by week and model"):
        st.dataframe(now.query(_WEEKS), hide_index=True)


def _show_drift(now: Current) -> None:
    """Show the features and scores against the day of training."""
    rows = now.query(_DRIFT)
    if not rows:
        st.info("Nothing to compare: the model has no profile.")
        return
    drifting = [row["feature"] for row in rows if row["is_drifting"]]
    if drifting:
        st.warning(f"Drifting since training: {len(drifting)} of {len(rows)}, most {drifting[0]}.")
    else:
        st.success("No feature is drifting.")
    st.dataframe(rows, hide_index=True)


def _show_decisions(now: Current) -> None:
    """Show which rules ask for a new model, and what was decided."""
    rules = now.query(_RULES)
    fired = [row["rule"].replace("_", " ") for row in rules if row["is_fired"]]
    st.markdown(f"Asks for a new model: **{', '.join(fired) or 'no rule'}**.")
    decisions = now.query(_DECISIONS)
    if decisions:
        st.dataframe(decisions, column_order=_DECIDED, hide_index=True)
    else:
        st.info("No decision yet.")
    with st.expander("Rules, as the last run found them"):
        st.dataframe(rules, hide_index=True)
