"""Measures `restock publish`: documents and pairs, processor time, time and memory.

    python benchmarks/publish.py WAREHOUSE ADDRESS [--copies 1]

The release of the warehouse is published to the database at ADDRESS, with every shopper several
times under new IDs. It replaces what is published there. A process of its own measures the client;
the databases count their own processor time.
"""

import argparse
import resource
import time
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

from serve import release

from ml.jobs.publish import publish
from ml.progress import silent
from ml.serving.index import Index
from ml.settings import Settings


def main() -> None:
    """Publish, and print a row of a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("warehouse", type=Path)
    parser.add_argument("address")
    parser.add_argument("--copies", type=int, default=1)
    options = parser.parse_args()
    warehouse = options.warehouse.absolute()
    with TemporaryDirectory(prefix=".publish-", dir=warehouse.parent) as name:
        made = release(warehouse, Path(name), f"copies-{options.copies}", copies=options.copies)
        settings = Settings.load(publish_to=options.address)
        of_release = replace(settings, warehouse=made / warehouse.name)
        before, started = processor_seconds(), time.perf_counter()
        rows = publish(of_release, silent)["rows"]
        seconds, cpu = time.perf_counter() - started, processor_seconds() - before
        pairs = len(Index(made / "index"))
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
    print("| pairs | documents | CPU, s | documents per second of CPU | time, s | memory, MiB |")
    print("| --- | --- | --- | --- | --- | --- |")
    print(
        f"| {pairs:,} | {rows:,} | {cpu:.1f} | {rows / cpu:,.0f} | {seconds:.0f} | {memory:,.0f} |"
    )


def processor_seconds() -> float:
    """Return the processor time of this process so far."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    main()
