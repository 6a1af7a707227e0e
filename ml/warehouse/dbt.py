"""Runs dbt in this process, and reads what it knows: the one way from Python to the SQL side."""

from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

from ml.errors import RestockError, busy, disk_full
from ml.progress import Progress
from ml.settings import PROJECT, Settings


@dataclass(frozen=True)
class Tested:
    """How a dbt test ended; ``status`` is ``pass`` or ``warn``."""

    name: str
    model: str
    status: str
    failures: int
    seconds: float


@dataclass(frozen=True)
class Built:
    """What a dbt command went through: so many models, seeds and tests, and how the tests ended."""

    steps: int
    tests: list[Tested]


def run(settings: Settings, command: str, *arguments: str, progress: Progress) -> Built:
    """Run a dbt command and return what it went through.

    Unit tests try the SQL on made-up rows, so new data cannot fail them: they are for development
    (`dbt build`, `make test`).

    Raises:
        BusyError: if another process holds the warehouse.
        StorageError: if the disk is full.
        RestockError: if a model or a test fails, with the first messages.
    """
    # dbt takes a second to import, and nothing but what is here needs it.
    from dbt.adapters.duckdb.connections import DuckDBConnectionManager
    from dbt.cli.main import dbtRunner

    def follow(event: Any) -> None:
        if event.info.name == "LogStartLine":
            progress(event.data.description, event.data.index - 1, event.data.total)

    # Its path would make dbt parse everything anew, and the day is read when the SQL is made.
    name = Path(settings.warehouse.name)
    project = _parse(replace(settings, warehouse=name, as_of="", as_of_days=""))
    settings.warehouse.parent.mkdir(parents=True, exist_ok=True)
    try:
        with settings.exported():
            outcome = dbtRunner(manifest=project, callbacks=[follow]).invoke(
                [
                    command,
                    *_options(settings),
                    *(("--exclude-resource-type", "unit_test") if command == "build" else ()),
                    *arguments,
                ]
            )
    finally:
        # dbt would keep the warehouse open, and nobody else could write it.
        if (environment := DuckDBConnectionManager._ENV) is not None:
            environment.close()
            DuckDBConnectionManager.close_all_connections()
    if outcome.exception is not None:
        raise _translated(str(outcome.exception), settings)
    results: Any = outcome.result
    failed = [
        f"{result.node.name}: {result.message}"
        for result in results
        if result.status in ("error", "fail", "runtime error")
    ]
    if failed:
        raise _translated("\n".join(failed[:5]), settings)
    return Built(len(results), [_tested(r) for r in results if r.node.resource_type == "test"])


@cache
def _parse(settings: Settings) -> Any:
    """Return dbt's manifest of the project; it takes seconds, and variables do not change it.

    Raises:
        RestockError: if dbt cannot parse the project.
    """
    from dbt.cli.main import dbtRunner

    with settings.exported():
        outcome = dbtRunner().invoke(["parse", *_options(settings)])
    if outcome.exception is not None:
        raise _translated(str(outcome.exception), settings)
    return outcome.result


def _options(settings: Settings) -> tuple[str, ...]:
    return (
        *("--project-dir", str(PROJECT), "--profiles-dir", str(PROJECT)),
        *("--target-path", str(settings.target), "--log-path", str(settings.dbt_log.parent)),
        *("--log-level", "none", "--log-level-file", "info", "--no-print"),
    )


def _tested(result: Any) -> Tested:
    node = result.node
    return Tested(
        name=node.name,
        model=(node.attached_node or "").rpartition(".")[2],
        status=str(result.status),
        failures=result.failures or 0,
        seconds=result.execution_time,
    )


def _translated(message: str, settings: Settings) -> RestockError:
    if "Could not set lock" in message or "Conflicting lock" in message:
        return busy(settings.warehouse)
    if "No space left" in message or "File too large" in message:
        return disk_full(settings.warehouse.parent)
    return RestockError(f"dbt stopped: {message}\nThe whole log: {settings.dbt_log}")
