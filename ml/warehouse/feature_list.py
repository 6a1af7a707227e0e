"""The feature list: columns of examples whose contract has ``meta: {feature: GROUP}``."""

import json
from dataclasses import dataclass

from ml.errors import RestockError
from ml.settings import Settings


@dataclass(frozen=True)
class Feature:
    """A feature: a column of the examples, its SQL type, its group and what it is, in words."""

    name: str
    dtype: str
    group: str
    description: str = ""


def features(settings: Settings, model: str = "examples") -> list[Feature]:
    """Return the features in order, from the contract of a model of examples in dbt's manifest.

    Raises:
        RestockError: there is no manifest, because dbt has not run yet.
    """
    path = settings.target / "manifest.json"
    if not path.exists():
        raise RestockError(f"{path} does not exist. Run `restock build` first.")
    columns = json.loads(path.read_text())["nodes"][f"model.restock.{model}"]["columns"]
    return [
        Feature(
            name,
            column["data_type"],
            column["config"]["meta"]["feature"],
            " ".join(column["description"].split()),
        )
        for name, column in columns.items()
        if "feature" in column["config"].get("meta", {})
    ]
