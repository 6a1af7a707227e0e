"""Measures the models of sequences beside the trees, on the test shoppers of a warehouse.

    RESTOCK_SOURCE=instacart RESTOCK_RAW_DIR=... python benchmarks/sequences.py

trains each on the same examples and prints the change against the trees, with a 95% interval, and
rows a second of scoring on one core. It needs `make deep`. docs/evaluation.md has the results.
"""

import time
from dataclasses import replace

from ml.jobs import train
from ml.jobs.evaluation_report import EvaluationReport, Predictions
from ml.jobs.task import REORDER
from ml.settings import DEFAULT_MODEL, HYBRID, SEQUENTIAL, Settings
from ml.warehouse import connection, examples
from ml.warehouse.feature_list import features

METRICS = ("auc", "log_loss", "precision_at_5", "mean_f1")


def main() -> None:
    """Fit the three models, and print their figures and differences."""
    settings = replace(Settings.load(model=HYBRID), threads=1)
    columns = features(settings)
    with connection.connect(settings, read_only=True) as con:
        learned = train.draw(con, columns, settings)
        held = examples.read_part(con, columns, REORDER.parts["held"])
        test = examples.read_part(con, columns, REORDER.parts["test"])
    predicted = {}
    for name in (DEFAULT_MODEL, *SEQUENTIAL):
        started = time.process_time()
        model = train.fit(settings, columns, learned, held, names=[name])
        fitted = time.process_time()
        predicted[name] = Predictions.of(model, test)
        model.predict(held.X)
        speed = (len(test) + len(held)) / (time.process_time() - fitted)
        print(f"{name}: {fitted - started:.0f} CPU s to fit, {speed:,.0f} pairs a second to score")
    report = EvaluationReport(settings, DEFAULT_MODEL, "holdout")
    report.add(test, predicted, {})
    others = {name: predicted[name].score() for name in SEQUENTIAL}
    report.add_differences(test, predicted[DEFAULT_MODEL], others)
    for name in predicted:
        for metric in METRICS:
            line = f"{name} {metric} {report.figures[name][metric].value:.4f}"
            if name in SEQUENTIAL:
                # The report has the trees minus the other model.
                gain, low, high = report.differences[name][metric]
                line += f", change {-gain:+.4f} ({-high:+.4f} to {-low:+.4f})"
            print(line)


if __name__ == "__main__":
    main()
