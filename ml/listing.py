"""What `restock status`, `restock releases` and `restock models` print to the standard output."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ml.console import HEADLINES

Row = Mapping[str, Any]
_SHOWN = 10  # purchases and features of a pair


def releases(rows: Sequence[Row]) -> None:
    """Print the releases, the newest first, each with its models and their figures."""
    if not rows:
        print("No release is published yet. Run `restock run`.")
    for row in rows:
        state = ("not whole",) if row["missing"] else ("published",) if row["is_published"] else ()
        newest = f"newest order {row['newest_order'][:10]}" if row["newest_order"] else ""
        size = f"{row['size_bytes'] / 1e6:,.0f} MB"
        print(*filter(None, (row["release"], *state, _batch(row), newest, size)), sep="  ")
        for alias, version in row["models"].items():
            print(f"  {version}  {_figures(row['metrics'].get(alias, {}))}")


def models(rows: Sequence[Row]) -> None:
    """Print the model versions, the newest first, with their figures and releases."""
    if not rows:
        print("There is no model yet. Run `restock train`.")
    for row in rows:
        unused = row["decision"] or "candidate"
        state = row["alias"] or ("earlier" if row["releases"] else unused)
        print(row["model_version"], row["task"] or "-", state, sep="  ")
        print(f"  {_figures(row['metrics'])}")
        if row["releases"]:
            print(f"  in {', '.join(row['releases'])}")


def why(row: Row) -> None:
    """Print a pair's scores and purchases, and the features that move its probability most."""
    _aligned(_why(row))


def _why(row: Row) -> Iterable[tuple[str, str]]:
    rank = f"rank {row['rank_in_user']:,} of {row['product_count']:,}"
    basket = "in the basket" if row["in_basket"] else "not in the basket"
    yield "product", f"{row['product_name']} ({row['product_id']})"
    yield "shopper", str(row["user_id"])
    yield "probability", f"{row['reorder_probability']:.4f}, {rank}, {basket}"
    yield "reason", row["reason"]
    yield "next order", row["as_of"] or ""
    yield "scores", f"batch {row['batch_id']}, {row['model_version']}"
    history = row["history"]
    yield "bought", f"{len(history)} times"
    if len(history) > _SHOWN:
        yield "", f"{len(history) - _SHOWN} earlier purchases, see --json"
    for line in history[-_SHOWN:]:
        when = line["ordered_at"] or f"order {line['order_number']}"
        yield "", f"{when}, {line['orders_ago']} orders and {line['days_ago']} days before the next"
    if row["base_probability"] is None:
        yield "contributions", "only gradient boosting has them. --json has the features"
        return
    yield "contributions", f"{row['base_probability']:.4f}  on average, before calibration"
    for part in row["contributions"][:_SHOWN]:
        yield "", part["in_words"]
    rest = math.exp(sum(part["log_odds"] for part in row["contributions"][_SHOWN:]))
    yield "", f"odds x {rest:.2f}  the other {len(row['contributions']) - _SHOWN} features"
    yield "", f"{row['uncalibrated_probability']:.4f}  together, before calibration"


def status(row: Row) -> None:
    """Print one screen: what is published, how old and how good it is, and the last run."""
    _aligned(_status(row))


def _status(row: Row) -> Iterable[tuple[str, str]]:
    if not (release := row["published"]):
        yield "published", "nothing yet. Run `restock run`"
    else:
        yield "published", f"{release['release']}  {_batch(release)}"
        for missing in release["missing"]:
            yield "problem", f"{missing} is missing"
        if release["problem"]:
            yield "problem", release["problem"]
        if release["pairs"] is not None:
            count = f"{release['pairs']:,} pairs of {release['shoppers']:,} shoppers"
            yield "scores", f"{count}, {_age(row['age_hours'])} old"
        if row["newest_order_age_hours"] is not None:
            yield "newest order", f"{_age(row['newest_order_age_hours'])} old"
    for model in row["models"]:
        label = "model" if model["task"] == "reorder" else f"{model['task']} model"
        yield label, model["model_version"]
        yield "", _figures(model["metrics"])
    for version in row["waiting"]:
        yield "promoted", f"{version}, from the next run on"
    if held := row["held"]:
        yield "promotion", f"held since {held['since']}, by a rollback from {held['from']}"
        yield "", "`restock promote` lets runs train again"
    for rule in row["rules"]:
        if rule["is_fired"]:
            yield "fires", f"{rule['rule']}: {rule['value']:.4g}, threshold {rule['threshold']:.4g}"
    if decision := row["last_decision"]:
        version = decision["challenger"] or decision["champion"]
        yield "decision", f"{decision['decided_at']}: {decision['task']}, {decision['decision']}"
        yield "", ": ".join(filter(None, (version, decision["reason"])))
    if row["rolls_back_to"]:
        yield "rollback", f"would publish {row['rolls_back_to']}"
    if last := row["last_run"]:
        yield "last run", f"{last['finished_at']}: {last['outcome']}"
        yield "", (last["error"] or last["reason"]).split("\n")[0]


def _batch(row: Row) -> str:
    return f"batch {row['batch_id']}" if row["batch_id"] else ""


def _age(hours: float) -> str:
    return f"{hours:,.1f} hours" if hours < 48 else f"{hours / 24:,.0f} days"


def _figures(metrics: Row) -> str:
    figures = [
        f"{label} {metrics[name]:.4f}" for name, label in HEADLINES.items() if name in metrics
    ]
    return ", ".join(figures) or "not evaluated"


def _aligned(lines: Iterable[tuple[str, str]]) -> None:
    """Print labels and texts in two columns, without lines that have no text."""
    shown = [(label, text) for label, text in lines if text]
    width = max(len(label) for label, _ in shown)
    for label, text in shown:
        print(f"{label:{width}}  {text}")
