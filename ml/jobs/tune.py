"""The tuning job: searches for model parameters on training and validation shoppers."""

from dataclasses import replace
from typing import Any

import numpy as np
from sklearn.metrics import log_loss

from ml.errors import SettingsError
from ml.jobs import train
from ml.jobs.task import REORDER, Task
from ml.progress import Progress
from ml.settings import Settings
from ml.warehouse import connection, examples
from ml.warehouse.feature_list import features


def tune(
    settings: Settings, progress: Progress, trials: int, task: Task = REORDER
) -> dict[str, Any]:
    """Search for parameters that lower the log-loss on the part ``held`` of a task.

    A tree-structured Parzen estimator proposes the trials (Bergstra, Bardenet, Bengio, Kégl 2011,
    "Algorithms for hyper-parameter optimization", section 4). The search never reads test
    shoppers. It saves nothing: copy the best parameters into ``restock.toml``.

    Raises:
        SettingsError: if Optuna is not installed, or the model is not gradient_boosting.
    """
    if settings.model != "gradient_boosting":
        raise SettingsError(
            f"cannot tune {settings.model}: only gradient_boosting has a search. "
            "Set model to gradient_boosting in restock.toml or RESTOCK_MODEL."
        )
    try:
        import optuna
    except ModuleNotFoundError:
        raise SettingsError("tuning needs Optuna: run pip install 'restock[tune]'") from None
    columns = features(settings, task.table.name)
    progress("reading examples", 0, trials)
    with connection.connect(settings, read_only=True) as con:
        learned = train.draw(con, columns, settings, task)
        held = examples.read_part(con, columns, task.parts["held"], task.table)

    usual = train.unfitted(settings, task).steps[-1][1]
    trees_times_rate = usual.n_estimators * usual.learning_rate  # the same in every trial

    def loss(parameters: dict[str, Any]) -> float:
        pipeline = train.unfitted(replace(settings, parameters=parameters), task)
        last = pipeline.steps[-1][0]
        pipeline.fit(learned.X, learned.label, **{f"{last}__sample_weight": learned.weight})
        return float(log_loss(held.label, pipeline.predict_proba(held.X)[:, 1].astype(np.float64)))

    def objective(trial: optuna.Trial) -> float:
        progress("searching", trial.number, trials)
        rate = trial.suggest_float("learning_rate", 0.02, 0.15, log=True)
        return loss(
            settings.parameters
            | {
                "learning_rate": rate,
                "n_estimators": round(trees_times_rate / rate),
                "num_leaves": trial.suggest_int("num_leaves", 7, 63, log=True),
                "min_child_samples": trial.suggest_int("min_child_samples", 20, 500, log=True),
                "colsample_bytree": trial.suggest_float("colsample_bytree", 0.2, 1.0),
                "reg_lambda": trial.suggest_float("reg_lambda", 0.1, 100.0, log=True),
                "scale_pos_weight": trial.suggest_float("scale_pos_weight", 0.5, 2.0, log=True),
            }
        )

    progress("measuring the current settings", 0, trials)
    now = loss(settings.parameters)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=settings.seed))
    study.optimize(objective, n_trials=trials)
    progress("tuned", trials, trials)
    best = {
        name: round(value, 4) if isinstance(value, float) else value
        for name, value in study.best_params.items()
    }
    return {
        "rows": len(learned),
        "log_loss": {"now": now, "best": study.best_value},
        "parameters": best | {"n_estimators": round(trees_times_rate / best["learning_rate"])},
    }
