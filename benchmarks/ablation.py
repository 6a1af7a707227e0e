"""Measures what each group of features is worth: AUC and log-loss in 5 folds without it.

    RESTOCK_SOURCE=instacart RESTOCK_RAW_DIR=... python benchmarks/ablation.py

prints the table in docs/evaluation.md for the warehouse in the settings.
"""

import numpy as np
from sklearn.metrics import log_loss, roc_auc_score

from ml.jobs import train
from ml.modelling.folds import part_in_fold, place
from ml.settings import Settings
from ml.warehouse import connection, examples
from ml.warehouse.examples import SPLITS
from ml.warehouse.feature_list import features

FOLDS = 5


def main() -> None:
    """Fit without each group in turn and print a row of the table for it."""
    settings = Settings.load()
    columns = features(settings)
    with connection.connect(settings, read_only=True) as con:
        learned = train.draw(con, columns, settings, part="labelled")
        test = examples.read(con, columns, cutoffs=[1], splits=SPLITS)
    groups = np.array([column.group for column in columns])
    ratios = np.array(["reorder_ratio" in column.name for column in columns])
    left_out = {"nothing": np.zeros(len(columns), dtype=bool)}
    left_out |= {
        f"{group.replace('users', 'shoppers')} ({np.sum(groups == group)})": groups == group
        for group in dict.fromkeys(groups)
    }
    left_out |= {f"reorder ratios ({ratios.sum()})": ratios}
    learned_place = place(learned.user_id)
    test_place = place(test.user_of_pair())
    print("| left out | AUC | log-loss |\n| --- | --- | --- |")
    for name, dropped in left_out.items():
        probability = np.empty(len(test))
        for fold in range(FOLDS):
            training = learned.of(part_in_fold(learned_place, fold, FOLDS) == "train")
            rows = part_in_fold(test_place, fold, FOLDS) == "test"
            pipeline = train.unfitted(settings)
            weight = {f"{pipeline.steps[-1][0]}__sample_weight": training.weight}
            pipeline.fit(training.X[:, ~dropped], training.label, **weight)
            probability[rows] = pipeline.predict_proba(test.X[rows][:, ~dropped])[:, 1]
        auc, loss = roc_auc_score(test.label, probability), log_loss(test.label, probability)
        print(f"| {name} | {auc:.4f} | {loss:.4f} |", flush=True)


if __name__ == "__main__":
    main()
