"""The publish job: writes the documents of the published release to a database that others read."""

from typing import Any

from ml.errors import SettingsError
from ml.progress import Progress
from ml.serving import answers, store
from ml.serving.index import LINK, Index
from ml.settings import Settings

TOGETHER = 500
"""Documents that are written together, which bounds the memory."""


def publish(settings: Settings, progress: Progress) -> dict[str, Any]:
    """Write the documents of a release beside those that readers see, then switch to them.

    If the job dies, the next one goes on after the last documents that were written.

    Raises:
        SettingsError: ``settings.publish_to`` is empty, or see `store.connected`.
        BusyError: another process is publishing there.
        RestockError: nothing is published, or the server does not answer.
    """
    if not settings.publish_to:
        raise SettingsError(
            "name a database with --to or RESTOCK_PUBLISH_TO: redis://HOST/0 or "
            "postgresql://HOST/DATABASE"
        )
    index = Index((settings.warehouse.resolve().parent / LINK).resolve())
    batch, total = answers.batches(index), index.shopper_count + index.product_count
    with store.connected(settings.publish_to) as (place, database):
        is_new = database.published() != batch
        if is_new:
            for first in range(database.begin(batch), total, TOGETHER):
                rows = range(first, min(first + TOGETHER, total))
                database.write(batch, [answers.document(index, row) for row in rows])
                progress(f"writing {place}", rows.stop, total)
            database.switch(batch)
    note = f"batch {batch}" if is_new else f"batch {batch} was published before"
    return {"rows": total, "path": place, "batch": batch, "is_new": is_new, "note": note}
