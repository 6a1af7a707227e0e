"""From raw csv to the pair features of one cutoff, written to a table. Prints JSON.

Run by `bench.py`, with the warehouse and the raw files in the environment.
"""

import json
import time

from job import forget_peak, peak_mib

from ml import run as jobs
from ml import transform, warehouse
from ml.settings import Settings


def main() -> None:
    """Fetch, build what pair features need at cutoff 0, and write them."""
    settings = Settings.load()
    forget_peak()
    started = time.perf_counter()
    jobs.fetch(settings, lambda *_: None)
    transform.run(
        settings,
        *("run", "--select", "+feat_user_products", "--vars", '{"label_cutoffs": 0}'),
        progress=lambda *_: None,
    )
    with warehouse.connect(settings) as con:
        con.execute("create table pair_features as from feat_user_products")
        rows = warehouse.scalar(con, "select count(*) from pair_features")
    seconds = time.perf_counter() - started
    print(json.dumps({"rows": rows, "seconds": seconds, "peak_mib": peak_mib()}))


if __name__ == "__main__":
    main()
