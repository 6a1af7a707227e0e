"""The feature list: columns of examples whose contract has ``meta: {feature: GROUP}``.

With ``of: TABLE`` beside it, a column is a feature only if rows of the table have landed. The
columns of `SEQUENCES` follow for a model that reads them.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow.parquet as pq

from ml.errors import RestockError
from ml.settings import SEQUENTIAL, Settings

OPTIONAL = ("promotions",)
"""Tables of a shop without which some columns of the examples are no features."""
SEQUENCES = "pair_sequences"
"""The dbt model with the sequences of each pair, which is read beside the examples."""


@dataclass(frozen=True)
class Feature:
    """A feature: a column of the examples, its SQL type, its group and what it is, in words.

    ``of`` names the optional table without which it is no feature; for a sequence, `SEQUENCES`.
    """

    name: str
    dtype: str
    group: str
    description: str = ""
    of: str = ""


def features(settings: Settings, model: str = "examples") -> list[Feature]:
    """Return the features in order, from the contract of a model of examples in dbt's manifest.

    Columns of an optional table are features if it has landed. The sequences of pairs come last, if
    the model of the settings reads them.

    Raises:
        RestockError: there is no manifest, because dbt has not run yet.
    """
    path = settings.target / "manifest.json"
    if not path.exists():
        raise RestockError(f"{path} does not exist. Run `restock build` first.")
    nodes = json.loads(path.read_text())["nodes"]
    listed = _listed(nodes[f"model.restock.{model}"]["columns"])
    kept = [feature for feature in listed if not feature.of or has_landed(settings, feature.of)]
    if settings.model in SEQUENTIAL and model == "examples":
        kept += _listed(nodes[f"model.restock.{SEQUENCES}"]["columns"])
    return kept


def sequences(columns: Sequence[Feature]) -> list[Feature]:
    """Return the features that are sequences."""
    return [column for column in columns if column.of == SEQUENCES]


def _listed(columns: dict[str, Any]) -> list[Feature]:
    return [
        Feature(
            name,
            column["data_type"],
            column["config"]["meta"]["feature"],
            " ".join(column["description"].split()),
            column["config"]["meta"].get("of", ""),
        )
        for name, column in columns.items()
        if "feature" in column["config"].get("meta", {})
    ]


def has_landed(settings: Settings, table: str) -> bool:
    """Return whether rows of a table have landed."""
    path = settings.landing / f"{table}.parquet"
    return path.exists() and pq.read_metadata(path).num_rows > 0
