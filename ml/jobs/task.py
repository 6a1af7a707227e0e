"""The questions: which products a shopper buys again, and who buys in the next 24 hours or week."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from ml.jobs import discovery, purchase, reorder
from ml.modelling import baselines, purchase_baselines
from ml.modelling.discovery import Measured
from ml.modelling.folds import Strings
from ml.modelling.rules import BasketRule, DailyList, Rule, Score
from ml.registry import versions
from ml.settings import Settings
from ml.warehouse.examples import MOMENTS, PAIRS, Examples, Table
from ml.warehouse.feature_list import Feature, features
from ml.warehouse.sampling import HELD_CUTOFFS

Connection = duckdb.DuckDBPyConnection


@dataclass(frozen=True)
class Task:
    """A question with the answer yes or no for each row of a table of examples.

    Attributes:
        name: name of the task.
        scope: beginning of the names of its tables in the schema ``ml``; empty for the first task.
        table: where its examples are.
        parts: SQL conditions that divide the examples: ``train`` fits, ``held`` calibrates,
            ``test`` measures, and ``now`` is scored. Where shoppers divide them, ``labelled`` has
            all but the last.
        parameters: those of gradient boosting that differ from its defaults.
        rule: what is made of the probabilities.
        measured_by_folds: whether test shoppers are too few, so that folds measure the model; it
            raises if nothing can be learned.
        beside: scores of the test rows to measure beside the model, from the settings, a
            connection, the features and the test rows.
        segments: from the same, the segments of the test rows, and other features for all of them
            by the name of a segment.
        counts: SQL counts of violations, by the name of the check.
        audited: parts that the audit compares: past, now, and earlier ones.
        past: what the names of its checks call the first of these, with a preposition.
        earlier: what they call the last.
        simple: baselines that need no fit, as weights of features; ``model = "auto"`` can serve
            one of them.
        backtests: test rows of earlier times, each with a segment and the scores of baselines, from
            a connection, the features and the splits.
        grade: SQL statements that begin the transaction of a scoring job: they grade what was
            published before.
        settle: SQL statements that end it: they keep what is to be graded later.
        save: writes what scores depend on besides the model to the folder of a version, from the
            settings and the features.
        listed: further tables to write with the scores, by name: from the folder of a version and
            the features, functions that make their rows from a batch of examples, without the
            batch's ID.
        measure_lists: how good these are on test shoppers, from a connection, the folder of a
            version and a seed; None if there are none.
    """

    name: str
    scope: str
    table: Table
    parts: Mapping[str, str]
    parameters: Mapping[str, Any]
    rule: type[Rule]
    measured_by_folds: Callable[[Connection], bool]
    beside: Callable[[Settings, Connection, Sequence[Feature], Examples], dict[str, Score]]
    segments: Callable[
        [Settings, Connection, Sequence[Feature], Examples],
        tuple[list[Strings], dict[str, npt.NDArray[np.float32]]],
    ]
    counts: Mapping[str, str]
    audited: Callable[[Connection], list[str]]
    past: str
    earlier: str
    simple: Mapping[str, Mapping[str, float]]
    backtests: Callable[
        [Connection, Sequence[Feature], Sequence[str]],
        Iterator[tuple[str, Examples, dict[str, Score]]],
    ]
    grade: Sequence[str] = ()
    settle: Sequence[str] = ()
    save: Callable[[Settings, Sequence[Feature], Path], None] = lambda *_: None
    listed: Callable[[Path, Sequence[Feature]], Mapping[str, Callable[[Examples], pa.Table]]] = (
        lambda *_: {}
    )
    measure_lists: Callable[[Connection, Path, int], Measured | None] = lambda *_: None

    @property
    def alias(self) -> str:
        """The link to the production version."""
        return "-".join(filter(None, (versions.ALIAS, self.scope))).replace("_", "-")

    def written(self, table: str) -> str:
        """Return the name of a table that the task writes."""
        return "ml." + "_".join(filter(None, (self.scope, table)))


REORDER = Task(
    name="reorder",
    scope="",
    table=PAIRS,
    parts={
        "train": "cutoff > 0 and split = 'train'",
        "held": f"cutoff between 1 and {HELD_CUTOFFS} and split = 'validation'",
        "test": f"cutoff = 1 and split = '{reorder.TESTED}'",
        "labelled": "cutoff > 0",
        "now": "cutoff = 0",
    },
    parameters={},
    rule=BasketRule,
    measured_by_folds=reorder.measured_by_folds,
    beside=reorder.beside,
    segments=reorder.segments,
    counts=reorder.COUNTS,
    audited=reorder.audited,
    past="at cutoff 1",
    earlier="cutoffs 2 and 3",
    simple=baselines.SIMPLE,
    backtests=reorder.earlier,
    grade=reorder.GRADE,
    settle=reorder.SETTLE,
    save=reorder.save,
    listed=reorder.listed,
    measure_lists=discovery.holdout,
)


def _purchase(name: str, horizon: purchase.Horizon) -> Task:
    """Return the purchase task for a horizon."""
    return Task(
        name=name,
        scope=name,
        table=MOMENTS,
        parts=horizon.parts,
        parameters=horizon.parameters,
        rule=DailyList,
        measured_by_folds=horizon.measured_by_folds,
        beside=horizon.beside,
        segments=purchase.segments,
        counts=horizon.counts,
        audited=horizon.audited,
        past="in the test period",
        earlier="the validation period",
        simple=purchase_baselines.SIMPLE,
        backtests=lambda con, columns, splits: iter(()),
        grade=horizon.grade,
        settle=horizon.settle,
    )


PURCHASES = {name: _purchase(name, horizon) for name, horizon in purchase.HORIZONS.items()}
TASKS = {REORDER.name: REORDER} | PURCHASES


def features_of(settings: Settings, task: Task, version: str = "") -> list[Feature]:
    """Return the features for the kind of model that a version is; by default that in production.

    Raises:
        RestockError: there is no such version.
    """
    name = versions.metadata(settings.models, version or task.alias)["model_name"]
    return features(settings.for_model(name), task.table.name)
