"""Measures what the gate says of challengers that are worse, and of one that is not.

    python tests/python/gate_mutants.py

prints the table in docs/reliability.md for the published warehouse in the settings. Each challenger
is a model as `restock train` fits it, with another seed; all but the first learn from spoilt data.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from ml.jobs import gate, train
from ml.jobs.task import REORDER
from ml.modelling.folds import place
from ml.registry import decisions, versions
from ml.registry.decisions import Decision
from ml.settings import Settings
from ml.warehouse import connection, examples
from ml.warehouse.examples import Examples
from ml.warehouse.feature_list import Feature, features
from ml.warehouse.sampling import Sample

SEEDS = 3
GROUP = "pairs"
"""The group of features that one challenger learns without."""
SHARE = 0.2
"""Share of the training shoppers that another learns from."""

Data = tuple[Sample, Examples]


def mutants(
    learned: Sample, held: Examples, columns: Sequence[Feature], seed: int
) -> Iterator[tuple[str, str, Data]]:
    """Yield challengers: a name, the decision to expect, and what to learn and to calibrate on."""
    yield "another seed", decisions.PROMOTED, (learned, held)
    rng = np.random.default_rng(seed)
    order, order_held = (rng.permutation(len(part)) for part in (learned, held))
    shuffled = replace(learned, label=learned.label[order], weight=learned.weight[order])
    yield (
        "shuffled labels",
        decisions.REFUSED,
        (
            shuffled,
            replace(held, label=held.label[order_held]),
        ),
    )
    without = [column.group == GROUP for column in columns]
    blind, blind_held = (np.where(without, np.nan, part.X) for part in (learned, held))
    yield (
        "no features of pairs",
        decisions.REFUSED,
        (
            replace(learned, X=blind),
            replace(held, X=blind_held),
        ),
    )
    few = place(learned.user_id, digit=8) < SHARE
    yield "a fifth of the shoppers", decisions.REFUSED, (learned.of(few), held)


def main() -> None:
    """Fit each challenger with each seed, and print a row of the table for it."""
    settings = Settings.load()
    columns = features(settings)
    champion, card = versions.load_measured(settings.models, columns)
    with connection.connect(settings, read_only=True) as con:
        held = examples.read_part(con, columns, REORDER.parts["held"])
        test = examples.read_part(con, columns, REORDER.parts["test"])
        beside = REORDER.beside(settings, con, columns, test)
    print(f"{len(test.user_id)} test shoppers, champion {card['model_version']}\n")
    print("| challenger | seed | log-loss | mean F1 | decision |\n| --- | --- | --- | --- | --- |")
    for seed in range(settings.seed + 1, settings.seed + 1 + SEEDS):
        with connection.connect(settings, read_only=True) as con:
            learned = train.draw(con, columns, replace(settings, seed=seed))
        for name, expected, data in mutants(learned, held, columns, seed):
            challenger = train.fit(replace(settings, seed=seed), columns, *data)
            compared = gate.compare(REORDER, test, beside, challenger, champion, seed=settings.seed)
            decision = gate.judged(Decision(REORDER.name, expected), compared).decision
            loss, f1 = compared.found["log_loss"], compared.found["mean_f1"].difference
            shares = [value / loss.champion for value in loss.difference]
            print(
                f"| {name} | {seed} | {shares[0]:+.1%} ({shares[1]:+.1%} to {shares[2]:+.1%}) "
                f"| {f1.value:+.4f} ({f1.low:+.4f} to {f1.high:+.4f}) | {decision} |"
                + ("" if decision == expected else f" expected: {expected}"),
                flush=True,
            )


if __name__ == "__main__":
    main()
