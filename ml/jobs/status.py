"""What is published, how old and how good it is, and what else is kept.

Every function reads and changes nothing. What it returns is the JSON of a command.
"""

from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb

from ml.errors import RestockError
from ml.registry import decisions, records, releases, versions
from ml.settings import Settings
from ml.warehouse import connection

Row = dict[str, Any]


def list_releases(settings: Settings) -> list[Row]:
    """Return the releases that are kept, the newest first."""
    return [_release(path, settings) for path in releases.kept(settings)]


def list_models(settings: Settings) -> list[Row]:
    """Return the model versions that are kept, the newest first."""
    production = {
        versions.production(settings.models, alias).name: alias
        for alias in versions.aliases(settings.models)
    }
    used: dict[str, list[str]] = {}
    for release in releases.kept(settings):
        for version in releases.models(release).values():
            used.setdefault(version.name, []).append(release.name)
    decided = {each.challenger: each.decision for each in decisions.read(settings)}
    return [
        {
            "model_version": card["model_version"],
            "task": card.get("task"),
            "alias": production.get(card["model_version"]),
            "decision": decided.get(card["model_version"]),
            "created_at": card["created_at"],
            "source": card["source"],
            "metrics": card["metrics"],
            "releases": used.get(card["model_version"], []),
        }
        for card in versions.known(settings.models)
    ]


def status(settings: Settings) -> Row:
    """Return what is published, its age and figures, what fires, and the last run and decision.

    Ages are in hours.
    """
    now = datetime.now(UTC)
    path = releases.published(settings)
    release = _release(path, settings) if path else None
    runs, decided = records.read(records.file(settings, "runs")), decisions.read(settings)
    earlier = releases.before(path) if path else None
    return {
        "published": release,
        "age_hours": _hours(now, release["scored_at"]) if release else None,
        "newest_order_age_hours": _hours(now, release["newest_order"]) if release else None,
        "models": sorted(
            (row for row in list_models(settings) if row["alias"]), key=lambda row: row["alias"]
        ),
        "waiting": [
            versions.production(settings.models, alias).name for alias in releases.waiting(settings)
        ],
        "held": releases.held(settings),
        "rolls_back_to": earlier.name if earlier else None,
        "rules": _rules(settings) if path else [],
        "last_decision": asdict(decided[-1]) if decided else None,
        "last_run": runs[-1] if runs else None,
    }


def _release(path: Path, settings: Settings) -> Row:
    models = {alias: version.name for alias, version in releases.models(path).items()}
    row: Row = {
        "release": path.name,
        "is_published": path == releases.published(settings),
        "models": models,
        "metrics": {
            alias: versions.metadata(settings.models, version)["metrics"]
            for alias, version in models.items()
            if (settings.models / version).exists()
        },
        "size_bytes": sum(file.stat().st_size for file in path.rglob("*") if file.is_file()),
        "missing": releases.missing(path, settings),
    }
    return row | _scores(path / settings.warehouse.name, settings)


def _rules(settings: Settings) -> list[Row]:
    """Return the rules that ask for a new model, with their values in the published release."""
    names = ("rule", "value", "threshold", "observation_count", "minimum", "was_tried", "is_fired")
    try:
        with connection.connect(settings, read_only=True) as con:
            sql = f"select {', '.join(names)} from rpt_retrain_rules order by rule"
            return [dict(zip(names, row, strict=True)) for row in con.execute(sql).fetchall()]
    except (RestockError, duckdb.Error):  # the release has a `problem`, which says so
        return []


def _scores(warehouse: Path, settings: Settings) -> Row:
    """Return the batch, what was scored, and the newest order; null where nothing can be read."""
    columns = {
        "batch_id": "batch_id",
        "scored_at": "scored_at",
        "newest_order": "newest_ordered_at",
        "shoppers": "shopper_count",
        "pairs": "pair_count",
    }
    row: Row = dict.fromkeys((*columns, "problem"))
    try:
        with connection.connect(replace(settings, warehouse=warehouse), read_only=True) as con:
            sql = f"select {', '.join(columns.values())} from rpt_score_summary"
            found = con.execute(sql).fetchall()
    except (RestockError, duckdb.Error) as error:
        return row | {"problem": str(error)}
    if not found:
        return row
    row |= dict(zip(columns, found[0], strict=True))
    return row | {
        name: row[name] and row[name].isoformat() for name in ("scored_at", "newest_order")
    }


def _hours(now: datetime, then: str | None) -> float | None:
    """Return the hours since a time in UTC; None if it is not known."""
    if then is None:
        return None
    return round((now - datetime.fromisoformat(then).replace(tzinfo=UTC)).total_seconds() / 3600, 1)
