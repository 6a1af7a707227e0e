"""The least that a job on these files can be: read the raw csv, write the predictions. Prints JSON.

Run by `bench.py` with the folder of the raw files and a finished warehouse.
"""

import json
import sys
import tempfile
import time
from pathlib import Path

import duckdb


def main() -> None:
    """Read every raw file into memory, and copy the predictions into a new database."""
    raw, warehouse = sys.argv[1:]
    with tempfile.TemporaryDirectory(dir=Path(warehouse).parent) as folder:
        started = time.perf_counter()
        with duckdb.connect(f"{folder}/floor.duckdb") as con:
            for path in sorted(Path(raw).glob("*.csv")):
                con.execute(f"create temp table {path.stem} as from read_csv('{path}')")
            read = time.perf_counter()
            con.execute(f"attach '{warehouse}' as done (read_only)")
            con.execute("create table predictions as from done.ml.predictions")
            con.execute("checkpoint")
        written = time.perf_counter()
    print(json.dumps({"read_seconds": read - started, "write_seconds": written - read}))


if __name__ == "__main__":
    main()
