"""From raw csv to the pair features of one cutoff, read as scoring reads them. Prints JSON.

Run by `bench.py`, with the warehouse and the raw files in the environment.
"""

import json
import time

from job import forget_peak, peak_mib

from ml.jobs import run as jobs
from ml.settings import Settings
from ml.warehouse import connection, dbt


def main() -> None:
    """Fetch, build what pair features need at cutoff 0, and read them in batches."""
    settings = Settings.load()
    forget_peak()
    started = time.perf_counter()
    jobs.fetch(settings, lambda *_: None)
    dbt.run(
        settings,
        *("run", "--select", "+feat_user_products", "--vars", '{"label_cutoffs": 0}'),
        progress=lambda *_: None,
    )
    with connection.connect(settings) as con:
        batches = con.sql("from feat_user_products").to_arrow_reader(250_000)
        rows = sum(batch.num_rows for batch in batches)
    seconds = time.perf_counter() - started
    print(json.dumps({"rows": rows, "seconds": seconds, "peak_mib": peak_mib()}))


if __name__ == "__main__":
    main()
