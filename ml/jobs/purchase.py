"""What is particular to the purchase tasks: horizons, baselines, segments, counts and outcomes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import duckdb
import numpy as np
import numpy.typing as npt

from ml.errors import RestockError
from ml.modelling.basket import Floats
from ml.modelling.folds import Strings
from ml.modelling.metrics import FEW_SHOPPERS
from ml.modelling.purchase_baselines import PROBABILITIES, PurchaseBaselines
from ml.modelling.rules import Score
from ml.settings import Settings
from ml.warehouse import connection, outcomes
from ml.warehouse.examples import MOMENTS, Examples, read_part
from ml.warehouse.feature_list import Feature

PARTS = {
    "train": "period = 'train' and split <> 'test' and not is_robot",
    "held": "period = 'validation' and split <> 'test' and not is_robot",
    "test": "period = 'test' and not is_robot",
    "now": "cutoff = 0",
}
"""The parts of a task, at every horizon."""

BASELINE_COLUMNS = (
    *("tenure_days", "purchase_count", "purchase_91_days_count", "days_since_purchase"),
    *("days_since_first_purchase", "dow_13_weeks_rate"),
)


# A list waits in ml.purchase_lists until its window has closed. A newer list for the same window
# takes its place. IDs are text there, because their type can change with the next raw files.
GRADE = (outcomes.added("purchase_outcomes", "closed_lists"),)
SETTLE = (
    """
    delete from ml.purchase_lists
    where batch_id in (select batch_id from ml.purchase_outcomes)
        or cutoff_at in (select cutoff_at from ml.purchase_predictions)
    """,
    """
    insert into ml.purchase_lists by name
    select
        predictions.batch_id, cast(predictions.user_id as varchar) as user_id,
        predictions.cutoff_at, windows.window_end_at, predictions.purchase_probability,
        predictions.is_targeted, predictions.is_held_out
    from ml.purchase_predictions as predictions
    inner join moments using (user_id, cutoff_at)
    inner join purchase_windows as windows using (cutoff, cutoff_at)
    where cutoff = 0 and windows.horizon_days = 1 and not moments.is_robot
    """,
)


# The forecasts of a week wait in ml.awaited_demand, see `outcomes.keep_demand`.
GRADE_DEMAND = (
    outcomes.added("demand_outcomes", "closed_demand"),
    """
    delete from ml.awaited_demand
    where cutoff_at in (select cutoff_at from ml.demand_outcomes)
    """,
)


@dataclass(frozen=True)
class Horizon:
    """How far a purchase task looks ahead, and what follows from that.

    Attributes:
        days: length of the window.
        published: name of the dbt model with its scores.
        parameters: those of gradient boosting that differ from its defaults.
        grade: SQL statements that grade what was published from earlier scores.
        settle: SQL statements that keep the list, if the scores are published as one.
    """

    days: int
    published: str
    parameters: Mapping[str, Any]
    grade: Sequence[str]
    settle: Sequence[str] = ()

    @property
    def parts(self) -> dict[str, str]:
        """The parts of the task."""
        return {name: f"horizon_days = {self.days} and {part}" for name, part in PARTS.items()}

    @property
    def counts(self) -> dict[str, str]:
        """The counts of the audit."""
        windows = f"""
            select distinct period, cutoff_at, window_end_at from purchase_examples
            where horizon_days = {self.days}
        """
        return {
            "past days at or after their cutoff": f"""
                select count(*) from past_days
                inner join moments using (cutoff, user_id)
                inner join purchase_windows using (cutoff)
                where horizon_days = {self.days}
                    and (past_days.days_ago < 1 or past_days.last_event_at >= moments.cutoff_at)
            """,
            "shoppers in two splits": """
                select count(*) from (
                    select user_id from moments group by user_id having count(distinct split) > 1
                )
            """,
            "windows that end after a later period starts": f"""
                select count(*) from ({windows}) as earlier
                inner join (
                    select period, min(cutoff_at) as starts_at from ({windows}) group by period
                ) as later
                    on (earlier.period = 'train' and later.period in ('validation', 'test'))
                        or (earlier.period = 'validation' and later.period = 'test')
                where earlier.window_end_at > later.starts_at
            """,
            "shoppers without a prediction": f"""
                select count(*) from (select user_id from moments where cutoff = 0) as shoppers
                anti join {self.published} using (user_id)
            """,
            "predictions without a shopper": f"""
                select count(*) from {self.published}
                anti join (select user_id from moments where cutoff = 0) as shoppers using (user_id)
            """,
        }

    def reason_to_skip(self, con: duckdb.DuckDBPyConnection) -> str:
        """Return why the task cannot be learned from these data; empty if it can."""
        if not connection.scalar(con, "select count(*) from user_days"):
            return "the orders have no times"
        for name in ("train", "held", "test"):
            counts = con.execute(
                f"""
                select count(distinct user_id), count(*) filter (label), count(*) filter (not label)
                from {MOMENTS.name} where {self.parts[name]}
                """
            ).fetchall()[0]
            if min(counts) < FEW_SHOPPERS:
                return (
                    "the log is too short or too small (a period needs "
                    f"{FEW_SHOPPERS} shoppers, {FEW_SHOPPERS} moments with a purchase and "
                    f"{FEW_SHOPPERS} without)"
                )
        return ""

    def measured_by_folds(self, con: duckdb.DuckDBPyConnection) -> bool:
        """Return False: time divides the moments, so all shoppers are test shoppers.

        Raises:
            RestockError: the task cannot be learned from these data.
        """
        if reason := self.reason_to_skip(con):
            raise RestockError(
                f"cannot predict purchases: {reason}. The task needs orders or events with times, "
                "over several weeks."
            )
        return False

    def audited(self, con: duckdb.DuckDBPyConnection) -> list[str]:
        """Return the parts that the audit compares: test, now, then an earlier one."""
        return [self.parts[name] for name in ("test", "now", "held")]

    def beside(
        self,
        settings: Settings,
        con: duckdb.DuckDBPyConnection,
        columns: Sequence[Feature],
        test: Examples,
    ) -> dict[str, Score]:
        """Score the test moments with every baseline, fitted on all training moments."""
        weights = dict(
            con.execute(
                "select event_type || '_7_days_count', weight from intent_weights order by all"
            ).fetchall()
        )
        known = [Feature(name, "", "") for name in (*BASELINE_COLUMNS, *weights)]
        learned = read_part(con, known, self.parts["train"], MOMENTS)
        own = read_part(con, known, self.parts["test"], MOMENTS)
        if not own.key.equals(test.key):
            raise AssertionError("the baselines have other test moments than the model")
        fitted = PurchaseBaselines.fit(
            _by_name(known, learned), learned.label, learned.offsets, days=self.days
        )
        scores = fitted.scores(_by_name(known, own), weights)
        return {name: Score(score, name in PROBABILITIES) for name, score in scores.items()}


HORIZONS = {
    "purchase": Horizon(1, "fct_purchase_propensity", {}, GRADE, SETTLE),
    # There is a seventh of the windows to learn from, and more trees learn their noise.
    "purchase_week": Horizon(7, "fct_weekly_propensity", {"n_estimators": 100}, GRADE_DEMAND),
}
"""The horizon of each purchase task, by its name."""


def segments(
    settings: Settings, con: duckdb.DuckDBPyConnection, columns: Sequence[Feature], test: Examples
) -> tuple[list[Strings], dict[str, npt.NDArray[np.float32]]]:
    """Return the segments by whether training saw earlier days of the shopper."""
    unseen = con.execute("select distinct user_id from moments where split = 'test'").fetchall()
    is_unseen = np.isin(test.user_of_pair().to_numpy(zero_copy_only=False), [u for (u,) in unseen])
    return [np.where(is_unseen, "shopper=unseen", "shopper=seen")], {}


def _by_name(columns: Sequence[Feature], examples: Examples) -> dict[str, Floats]:
    return {column.name: values for column, values in zip(columns, examples.X.T, strict=True)}
