"""What is particular to the purchase task: when it can run, its baselines, counts and outcomes."""

from collections.abc import Sequence

import duckdb
import numpy as np
import numpy.typing as npt

from ml.errors import RestockError
from ml.modelling.basket import Floats
from ml.modelling.folds import Strings
from ml.modelling.metrics import FEW_SHOPPERS
from ml.modelling.purchase_baselines import INTENT_WEIGHTS, PROBABILITIES, PurchaseBaselines
from ml.modelling.rules import Score
from ml.settings import Settings
from ml.warehouse import connection
from ml.warehouse.examples import MOMENTS, Examples, read_part
from ml.warehouse.feature_list import Feature

TRAIN = "period = 'train' and split <> 'test' and not is_robot"
HELD = "period = 'validation' and split <> 'test' and not is_robot"
TEST = "period = 'test' and not is_robot"
NOW = "cutoff = 0"

BASELINE_COLUMNS = (
    *("tenure_days", "purchase_count", "purchase_91_days_count", "days_since_purchase"),
    *("days_since_first_purchase", "dow_13_weeks_rate", *INTENT_WEIGHTS),
)

COUNTS = {
    "past days at or after their cutoff": """
        select count(*) from past_days
        inner join moments using (cutoff, user_id)
        where past_days.days_ago < 1 or past_days.last_event_at >= moments.cutoff_at
    """,
    "shoppers in two splits": """
        select count(*) from (
            select user_id from moments group by user_id having count(distinct split) > 1
        )
    """,
    "windows that end after a later period starts": """
        select count(*) from (select distinct period, window_end_at from moments) as earlier
        inner join (
            select period, min(cutoff_at) as starts_at from moments group by period
        ) as later
            on (earlier.period = 'train' and later.period in ('validation', 'test'))
                or (earlier.period = 'validation' and later.period = 'test')
        where earlier.window_end_at > later.starts_at
    """,
    "shoppers without a prediction": """
        select count(*) from (select user_id from moments where cutoff = 0) as shoppers
        anti join fct_purchase_propensity using (user_id)
    """,
    "predictions without a shopper": """
        select count(*) from fct_purchase_propensity
        anti join (select user_id from moments where cutoff = 0) as shoppers using (user_id)
    """,
}

# A list waits in ml.purchase_lists until its window has closed. A newer list for the same window
# takes its place. IDs are text there, because their type can change with the next raw files.
SETTLE = (
    "insert into ml.purchase_outcomes by name select * from closed_lists",
    """
    delete from ml.purchase_lists
    where batch_id in (select batch_id from ml.purchase_outcomes)
        or cutoff_at in (select cutoff_at from ml.purchase_predictions)
    """,
    """
    insert into ml.purchase_lists by name
    select
        predictions.batch_id, cast(predictions.user_id as varchar) as user_id,
        predictions.cutoff_at, moments.window_end_at, predictions.purchase_probability,
        predictions.is_targeted, predictions.is_held_out
    from ml.purchase_predictions as predictions
    inner join moments using (user_id, cutoff_at)
    where moments.cutoff = 0 and not moments.is_robot
    """,
)


def reason_to_skip(con: duckdb.DuckDBPyConnection) -> str:
    """Return why the task cannot be learned from these data; empty if it can."""
    if not connection.scalar(con, "select count(*) from user_days"):
        return "the orders have no times"
    few = f"fewer than {FEW_SHOPPERS} shoppers, or a period without both buyers and others"
    for part in (TRAIN, HELD, TEST):
        shoppers, buyers, others = con.execute(
            f"""
            select count(distinct user_id), count(*) filter (label), count(*) filter (not label)
            from {MOMENTS.name} where {part}
            """
        ).fetchall()[0]
        if shoppers < FEW_SHOPPERS or not buyers or not others:
            return f"the log is too short or too small ({few})"
    return ""


def measured_by_folds(con: duckdb.DuckDBPyConnection) -> bool:
    """Return False: time divides the moments, so all shoppers are test shoppers.

    Raises:
        RestockError: the task cannot be learned from these data.
    """
    if reason := reason_to_skip(con):
        raise RestockError(
            f"cannot predict purchases: {reason}. The task needs orders or events with times, over "
            "several weeks."
        )
    return False


def audited(con: duckdb.DuckDBPyConnection) -> list[str]:
    """Return the parts that the audit compares: test, now, then an earlier one."""
    return [TEST, NOW, HELD]


def beside(
    settings: Settings, con: duckdb.DuckDBPyConnection, columns: Sequence[Feature], test: Examples
) -> dict[str, Score]:
    """Score the test moments with every baseline, fitted on all training moments."""
    known = [Feature(name, "", "") for name in BASELINE_COLUMNS]
    learned = read_part(con, known, TRAIN, MOMENTS)
    own = read_part(con, known, TEST, MOMENTS)
    if not own.key.equals(test.key):
        raise AssertionError("the baselines have other test moments than the model")
    days = connection.scalar(
        con, "select max(date_diff('day', cutoff_at, window_end_at)) from moments"
    )
    fitted = PurchaseBaselines.fit(_by_name(learned), learned.label, learned.offsets, days=days)
    scores = fitted.scores(_by_name(own))
    return {name: Score(score, name in PROBABILITIES) for name, score in scores.items()}


def segments(
    settings: Settings, con: duckdb.DuckDBPyConnection, columns: Sequence[Feature], test: Examples
) -> tuple[list[Strings], dict[str, npt.NDArray[np.float32]]]:
    """Return the segments by whether training saw earlier days of the shopper."""
    unseen = con.execute("select distinct user_id from moments where split = 'test'").fetchall()
    is_unseen = np.isin(test.user_of_pair().to_numpy(zero_copy_only=False), [u for (u,) in unseen])
    return [np.where(is_unseen, "shopper=unseen", "shopper=seen")], {}


def _by_name(examples: Examples) -> dict[str, Floats]:
    return dict(zip(BASELINE_COLUMNS, examples.X.T, strict=True))
