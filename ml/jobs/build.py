"""The build job: builds every dbt model and runs its data tests."""

from collections.abc import Sequence
from typing import Any

from ml.jobs.fetch import fetch
from ml.progress import Progress
from ml.settings import Settings
from ml.warehouse import connection, dbt, run_records


def build(
    settings: Settings,
    progress: Progress,
    selection: Sequence[str] = (),
    *,
    accept_drop: bool = False,
) -> dict[str, Any]:
    """Build and test every dbt model, or those that the dbt arguments in ``selection`` name."""
    # dbt fetches too, but would report a malformed raw file as an internal error.
    fetch(settings, progress, accept_drop=accept_drop)
    built = dbt.run(settings, "build", *selection, progress=progress)
    with connection.connect(settings) as con, connection.transaction(con):
        run_records.record_files(con, settings)
        con.execute("delete from ml.test_results")
        run_records.record_tests(con, built.tests)
        # A log of events without products has no pairs.
        rows = connection.scalar(con, "select coalesce(sum(user_product_count), 0) from feat_users")
    return {"rows": rows, "models_and_tests": built.steps}
