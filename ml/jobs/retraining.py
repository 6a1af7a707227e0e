"""When a run trains a challenger: the facts behind `rpt_retrain_rules`, and the rules that fire.

A run compares its orders with those that the newest model of the reorder task learned from. That
may be a challenger that was not promoted: a rule about orders that has made one counts from its
orders on. The other rules are about the champion.
"""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime

import duckdb

from ml import sources
from ml.errors import RestockError
from ml.registry import decisions, versions
from ml.settings import Settings
from ml.warehouse import connection, run_records

TASK = "reorder"
"""The task whose newest model the rules are about. They ask for a challenger of every task."""


@dataclass(frozen=True)
class Comparison:
    """What a run found; ``ml.comparison`` describes the fields."""

    compared_at: datetime
    champion: str
    shopper_count: int
    changed_shopper_count: int
    line_count: int
    learned_line_count: int | None
    model_age_days: float

    def write(self, con: duckdb.DuckDBPyConnection) -> None:
        """Replace the row of ``ml.comparison``."""
        row = asdict(self)
        con.execute("delete from ml.comparison")
        con.execute(
            f"insert into ml.comparison ({', '.join(row)}) values ({', '.join('?' * len(row))})",
            [*row.values()],
        )


@dataclass(frozen=True)
class Fired:
    """A rule that asks for a challenger."""

    rule: str
    value: float
    threshold: float

    def __str__(self) -> str:
        """Return the rule in words."""
        return f"{self.rule} is {self.value:.4g} (threshold {self.threshold:.4g})"


def read_last(settings: Settings, last: Settings) -> None:
    """Start a warehouse with what the last release recorded about live quality and drift.

    The rules read it, so it must be there before dbt makes their view.
    """
    settings.warehouse.parent.mkdir(parents=True, exist_ok=True)
    # `ml.batches` is the mark of a warehouse, without which dbt would refuse the file.
    read = {"rpt_live_summary": "", "rpt_drift": "", "ml.batches": "limit 0"}
    with connection.connect(last, read_only=True) as con:
        tables = {
            name: con.sql(f"from {name} {end}").to_arrow_table() for name, end in read.items()
        }
    with duckdb.connect(str(settings.warehouse)) as con:
        con.execute("create schema ml")
        for name, table in tables.items():
            con.register("copied", table)
            con.execute(f"create table {name} as from copied")


def compare(settings: Settings, last: Settings, *, shoppers: int, changed: int) -> Comparison:
    """Compare the landed orders with those that the newest model learned from.

    Args:
        settings: the settings of the run.
        last: the same with the published warehouse.
        shoppers: number of shoppers.
        changed: number of those whose orders changed since the newest model was trained.
    """
    champion = versions.metadata(settings.models)
    newest = champion
    if decided := decisions.challenge(last, TASK):
        with suppress(RestockError):  # it is no longer on disk
            card = versions.metadata(settings.models, decided.challenger or "")
            newest = max(champion, card, key=lambda each: each["created_at"])
    return Comparison(
        compared_at=_now(),
        champion=champion["model_version"],
        shopper_count=shoppers,
        changed_shopper_count=changed,
        line_count=sources.delivery(settings.landing).line_count,
        learned_line_count=newest.get("line_count"),
        model_age_days=_age_days(champion),
    )


def fired(
    con: duckdb.DuckDBPyConnection, found: Comparison, last: Sequence[decisions.Decision]
) -> list[Fired]:
    """Return the rules that fire, given what a run found and the decisions before it."""
    found.write(con)
    run_records.record_decisions(con, [asdict(decision) for decision in last])
    sql = "select rule, value, threshold from rpt_retrain_rules where is_fired order by rule"
    return [Fired(*row) for row in con.execute(sql).fetchall()]


def count_from_now(settings: Settings) -> None:
    """Count changes from these orders on, because a challenger has learned from them."""
    with connection.connect(settings) as con, connection.transaction(con):
        con.execute("update ml.scored_shoppers set is_since_training = false")
        lines = sources.delivery(settings.landing).line_count
        champion = versions.metadata(settings.models)
        Comparison(
            compared_at=_now(),
            champion=champion["model_version"],
            shopper_count=connection.scalar(con, "select count(*) from ml.scored_shoppers"),
            changed_shopper_count=0,
            line_count=lines,
            learned_line_count=lines,
            model_age_days=_age_days(champion),
        ).write(con)


def _age_days(card: versions.Card) -> float:
    """Return the days since a version was trained."""
    trained = datetime.fromisoformat(card["created_at"]).replace(tzinfo=None)
    return (_now() - trained).total_seconds() / 86_400


def _now() -> datetime:
    return datetime.now(UTC).replace(tzinfo=None)
