"""The folder of a version as a model that MLflow loads: features in, probabilities out."""

import warnings
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from ml.registry import versions

if TYPE_CHECKING:
    import pandas as pd

    from ml.modelling.basket import Floats


class Version:
    """A version that predicts from a data frame with its features."""

    def __init__(self, folder: Path) -> None:
        """Check the files of a version, and load its model.

        Raises:
            RestockError: a file is missing or has changed.
        """
        import joblib

        card = versions.check_files(folder.parent, folder.name)
        self._features = [feature["name"] for feature in card["features"]]
        self._model = joblib.load(folder / versions.MODEL)

    def predict(self, model_input: "pd.DataFrame") -> "Floats":
        """Return the calibrated probability of each row, shape (n_rows,)."""
        return self._model.predict(model_input[self._features].to_numpy("float32"))


def _load_pyfunc(path: str) -> Version:
    """Return the model of a folder. MLflow calls this."""
    return Version(Path(path))


def log(client: Any, run_id: str, folder: Path, card: versions.Card) -> str:
    """Log a version's folder as a model of an MLflow run, and return its address."""
    from mlflow.models import ModelSignature
    from mlflow.pyfunc import save_model
    from mlflow.types import ColSpec, DataType, Schema, TensorSpec

    inputs: list[ColSpec | TensorSpec] = [
        ColSpec(DataType.float, feature["name"]) for feature in card["features"]
    ]
    needed = [
        f"{name}=={version}" for name, version in card["libraries"].items() if name != "python"
    ]
    with TemporaryDirectory() as place:
        model = Path(place) / "model"
        warnings.filterwarnings("ignore", "An input example was not provided")
        save_model(
            model,
            loader_module=__name__,
            data_path=str(folder),
            signature=ModelSignature(Schema(inputs), Schema([ColSpec(DataType.double)])),
            pip_requirements=needed,
        )
        client.log_artifacts(run_id, str(model), "model")
    return f"runs:/{run_id}/model"
