"""Runs dbt inside this process. No other module calls dbt."""

from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

from ml.errors import RestockError, busy, disk_full
from ml.progress import Progress, silent
from ml.settings import PROJECT, Settings


@dataclass(frozen=True)
class Tested:
    """The result of a dbt test: ``status`` is ``pass`` or ``warn``, ``failures`` counts rows."""

    name: str
    model: str
    status: str
    failures: int
    seconds: float


@dataclass(frozen=True)
class Built:
    """The result of a dbt command: the number of models, seeds and tests, and the test results."""

    steps: int
    tests: list[Tested]


@dataclass(frozen=True)
class Compiled:
    """A compiled model: its SQL, its relation, and the relations it reads by the model's name."""

    name: str
    sql: str
    relation: str
    reads: dict[str, str]


def run(settings: Settings, command: str, *arguments: str, progress: Progress) -> Built:
    """Run a dbt command and return its result.

    `build` skips unit tests: they check the SQL on made-up rows, so new data cannot make them
    fail. A plain `dbt build` and `make test` run them.

    Raises:
        BusyError: another process has the warehouse open.
        StorageError: the disk is full.
        RestockError: a model or a test failed; the message holds the first five failures.
    """
    if command == "build":
        arguments = ("--exclude-resource-type", "unit_test", *arguments)
    results = _invoke(settings, command, *arguments, progress=progress)
    return Built(len(results), [_tested(r) for r in results if r.node.resource_type == "test"])


def compile(settings: Settings, *arguments: str) -> list[Compiled]:
    """Compile models, and return each after those it reads.

    Raises:
        RestockError: a model cannot be compiled.
    """
    results = _invoke(settings, "compile", "--indirect-selection", "empty", *arguments)
    nodes = _parsed(settings).nodes
    return [
        Compiled(
            node.name,
            node.compiled_code,
            node.relation_name,
            {
                nodes[key].name: nodes[key].relation_name
                for key in node.depends_on.nodes
                if key in nodes
            },
        )
        for node in (result.node for result in results)
    ]


def _invoke(
    settings: Settings, command: str, *arguments: str, progress: Progress = silent
) -> list[Any]:
    """Run a dbt command and return the results of its nodes."""
    # dbt takes a second to import.
    from dbt.adapters.duckdb.connections import DuckDBConnectionManager
    from dbt.cli.main import dbtRunner

    def follow(event: Any) -> None:
        if event.info.name == "LogStartLine":
            progress(event.data.description, event.data.index - 1, event.data.total)

    project = _parsed(settings)
    settings.warehouse.parent.mkdir(parents=True, exist_ok=True)
    try:
        with settings.exported():
            outcome = dbtRunner(manifest=project, callbacks=[follow]).invoke(
                [command, *_options(settings), *arguments]
            )
    finally:
        # Otherwise dbt keeps the warehouse open, and no other connection can write to it.
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
    return list(results)


def _parsed(settings: Settings) -> Any:
    """Return dbt's manifest of the project, from one parse for every release and every date.

    Parsing depends on neither the folder of the warehouse nor the scoring date.
    """
    name = Path(settings.warehouse.name)
    return _parse(replace(settings, warehouse=name, as_of="", as_of_days=""))


@cache
def _parse(settings: Settings) -> Any:
    """Return dbt's manifest of the project. Parsing takes seconds, so the result is cached.

    Raises:
        RestockError: dbt cannot parse the project.
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
    return RestockError(f"dbt failed: {message}\nFull log: {settings.dbt_log}")
