"""What a refit is worth: what a model gains by having learned from test shoppers' earlier orders.

`python benchmarks/refit.py` reads the warehouse that the settings name, after `restock build`. Both
models learn from cutoffs 2 and up, and are measured on test shoppers at cutoff 1.
"""

from dataclasses import replace

from ml.jobs import train
from ml.jobs.evaluation_report import Predictions
from ml.jobs.task import REORDER
from ml.settings import Settings
from ml.warehouse import connection, examples, sampling
from ml.warehouse.feature_list import features

SHOWN = ("auc", "log_loss", "precision_at_5", "mean_f1", "expected_calibration_error")
SEEDS = 3
HELD = f"cutoff between 2 and {sampling.HELD_CUTOFFS} and split = 'validation'"
PARTS = {"train": "cutoff > 1 and split = 'train'", "labelled": "cutoff > 1", "held": HELD}


def main() -> None:
    """Print the figures of both models, and the change, for each seed."""
    settings = Settings.load()
    columns = features(settings)
    task = replace(REORDER, parts={**REORDER.parts, **PARTS})
    print("| seed | metric | training shoppers | all shoppers | change |")
    print("| --- | --- | --- | --- | --- |")
    for seed in range(settings.seed, settings.seed + SEEDS):
        seeded = replace(settings, seed=seed)
        with connection.connect(seeded, read_only=True) as con:
            learned = train.draw(con, columns, seeded, task)
            everyone = train.draw(con, columns, seeded, task, part="labelled")
            held = examples.read_part(con, columns, task.parts["held"], task.table)
            test = examples.read_part(con, columns, task.parts["test"], task.table)
        measured = train.fit(seeded, columns, learned, held, task)
        refitted = train.refit(seeded, columns, measured, everyone, task)
        before, after = (
            task.rule.measure(
                Predictions.of(model, test).score(),
                test.label,
                test.key.to_numpy(),
                test.offsets,
                seed=seed,
            )
            for model in (measured, refitted)
        )
        for name in SHOWN:
            values = before[name].value, after[name].value
            change = values[1] - values[0]
            print(f"| {seed} | {name} | {values[0]:.5f} | {values[1]:.5f} | {change:+.5f} |")


if __name__ == "__main__":
    main()
