"""The two questions: which products a shopper buys again, and who buys in the next 24 hours."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import duckdb
import numpy as np
import numpy.typing as npt

from ml.jobs import purchase, reorder
from ml.modelling.folds import Strings
from ml.modelling.rules import BasketRule, DailyList, Rule, Score
from ml.registry import versions
from ml.settings import Settings
from ml.warehouse.examples import MOMENTS, PAIRS, Examples, Table
from ml.warehouse.feature_list import Feature
from ml.warehouse.sampling import HELD_CUTOFFS

Connection = duckdb.DuckDBPyConnection


@dataclass(frozen=True)
class Task:
    """A question with the answer yes or no for each row of a table of examples.

    Attributes:
        name: name of the task, and of its probability: ``<name>_probability``.
        scope: beginning of the names of its tables in the schema ``ml``; empty for the first task.
        table: where its examples are.
        parts: SQL conditions that divide the examples: ``train`` fits, ``held`` calibrates,
            ``test`` measures, and ``now`` is scored.
        rule: what is made of the probabilities.
        measured_by_folds: whether test shoppers are too few, so that folds measure the model; it
            raises if nothing can be learned.
        beside: scores of the test rows to measure beside the model, from the settings, a
            connection, the features and the test rows.
        segments: from the same, the segments of the test rows, and other features for all of them
            by the name of a segment.
        counts: SQL counts of violations, by the name of the check.
        audited: parts that the audit compares: past, now, and earlier ones.
        save: writes what scores depend on besides the model to the folder of a version, from the
            settings and the features.
    """

    name: str
    scope: str
    table: Table
    parts: Mapping[str, str]
    rule: type[Rule]
    measured_by_folds: Callable[[Connection], bool]
    beside: Callable[[Settings, Connection, Sequence[Feature], Examples], dict[str, Score]]
    segments: Callable[
        [Settings, Connection, Sequence[Feature], Examples],
        tuple[list[Strings], dict[str, npt.NDArray[np.float32]]],
    ]
    counts: Mapping[str, str]
    audited: Callable[[Connection], list[str]]
    save: Callable[[Settings, Sequence[Feature], Path], None] = lambda *_: None

    @property
    def alias(self) -> str:
        """The link to the production version."""
        return "-".join(filter(None, (versions.ALIAS, self.scope)))

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
        "test": "cutoff = 1 and split = 'test'",
        "now": "cutoff = 0",
    },
    rule=BasketRule,
    measured_by_folds=reorder.measured_by_folds,
    beside=reorder.beside,
    segments=reorder.segments,
    counts=reorder.COUNTS,
    audited=reorder.audited,
    save=reorder.save,
)
PURCHASE = Task(
    name="purchase",
    scope="purchase",
    table=MOMENTS,
    parts={
        "train": purchase.TRAIN,
        "held": purchase.HELD,
        "test": purchase.TEST,
        "now": purchase.NOW,
    },
    rule=DailyList,
    measured_by_folds=purchase.measured_by_folds,
    beside=purchase.beside,
    segments=purchase.segments,
    counts=purchase.COUNTS,
    audited=purchase.audited,
)
TASKS = {task.name: task for task in (REORDER, PURCHASE)}
