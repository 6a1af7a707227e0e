"""The feature list: columns of examples whose contract has ``meta: {feature: GROUP}``.

With ``of: TABLE`` beside it, a column is a feature only if rows of the table have landed.
"""

import json
from dataclasses import dataclass

import pyarrow.parquet as pq

from ml.errors import RestockError
from ml.settings import Settings

OPTIONAL = ("promotions",)
"""Tables of a shop without which some columns of the examples are no features."""


@dataclass(frozen=True)
class Feature:
    """A feature: a column of the examples, its SQL type, its group and what it is, in words.

    ``of`` names the optional table without which it is no feature.
    """

    name: str
    dtype: str
    group: str
    description: str = ""
    of: str = ""


def features(settings: Settings, model: str = "examples") -> list[Feature]:
    """Return the features in order, from the contract of a model of examples in dbt's manifest.

    Columns of an optional table are features if it has landed.

    Raises:
        RestockError: there is no manifest, because dbt has not run yet.
    """
    path = settings.target / "manifest.json"
    if not path.exists():
        raise RestockError(f"{path} does not exist. Run `restock build` first.")
    columns = json.loads(path.read_text())["nodes"][f"model.restock.{model}"]["columns"]
    listed = [
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
    return [feature for feature in listed if not feature.of or has_landed(settings, feature.of)]


def has_landed(settings: Settings, table: str) -> bool:
    """Return whether rows of a table have landed."""
    path = settings.landing / f"{table}.parquet"
    return path.exists() and pq.read_metadata(path).num_rows > 0
