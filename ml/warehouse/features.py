"""The features of a model: the columns that the contract of `examples` marks as such."""

import json
from dataclasses import dataclass

from ml.errors import RestockError
from ml.settings import Settings


@dataclass(frozen=True)
class Feature:
    """A column of ``examples`` that a model may read."""

    name: str
    dtype: str
    group: str


def features(settings: Settings) -> list[Feature]:
    """Read the ordered list of features from the contract of ``examples`` in dbt's manifest.

    Raises:
        RestockError: if dbt has not built the project yet.
    """
    path = settings.target / "manifest.json"
    if not path.exists():
        raise RestockError(f"{path} does not exist. Run `restock build` first.")
    columns = json.loads(path.read_text())["nodes"]["model.restock.examples"]["columns"]
    return [
        Feature(name, column["data_type"], column["config"]["meta"]["feature"])
        for name, column in columns.items()
        if "feature" in column["config"].get("meta", {})
    ]
