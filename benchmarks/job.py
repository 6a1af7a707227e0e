"""One `restock run` in a process of its own, every stage measured; prints JSON.

Run by `bench.py`. The kernel keeps the peak of the resident memory, and forgets it on request: so
each stage has its own. No stage starts another process.
"""

import json
import os
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

from ml.jobs import run as jobs
from ml.settings import Settings


def forget_peak() -> None:
    """Let the peak of the resident memory start anew (man 5 proc, clear_refs)."""
    Path("/proc/self/clear_refs").write_text("5")


def peak_mib() -> float:
    """Return the peak of the resident memory since `forget_peak`, in MiB."""
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


def nodes(settings: Settings, since: float) -> dict[str, float]:
    """Return the seconds of every model and test of a dbt run that ended after `since`."""
    path = settings.target / "run_results.json"
    if not path.exists() or path.stat().st_mtime < since:
        return {}
    results = json.loads(path.read_text())["results"]
    return {result["unique_id"]: result["execution_time"] for result in results}


def main() -> None:
    """Run every step; print what each took, and the size of the warehouse in bytes."""
    settings = Settings.load()
    stages = {}

    def step(name: str, settings: Settings, function: jobs.Step) -> dict[str, Any]:
        forget_peak()
        since, started, cpu = time.time(), time.perf_counter(), time.process_time()
        result = function(settings, lambda *_: None)
        stages[name] = {
            "rows": result["rows"],
            "seconds": time.perf_counter() - started,
            "cpu_seconds": time.process_time() - cpu,
            "peak_mib": peak_mib(),
            "rows_per_second": result.get("rows_per_second", 0),
            "nodes": nodes(settings, since),
        }
        return result

    jobs.run(settings, step)
    print(json.dumps({"stages": stages, "bytes": settings.warehouse.stat().st_size}))


if __name__ == "__main__":
    main()
