"""The sink job: writes the newest probabilities of a purchase to a collection of MongoDB.

The documents are written to a new collection, which then takes the name of the old one. So readers
see one scoring run, the old one or the new one.
"""

import secrets
from contextlib import suppress
from datetime import datetime
from typing import Any

from ml.errors import RestockError, SettingsError
from ml.mongodb import Database
from ml.progress import Progress
from ml.settings import Settings
from ml.warehouse import connection

COLLECTION = "purchase_propensity"
BATCH = 10_000


def write(settings: Settings, progress: Progress, *, to: str) -> dict[str, Any]:
    """Replace the collection `COLLECTION` by the rows of ``fct_purchase_propensity``.

    The ``_id`` of a document is the shopper. A time is text, because it is on the shop's clock, and
    MongoDB's dates are in UTC.

    Raises:
        SettingsError: the address is not valid, or the collection has documents that Restock did
            not write.
        RestockError: there are no scores, or the server does not answer.
    """
    database = Database.from_address(to, settings.mongo_password)
    place = f"{database}, collection {COLLECTION}"
    with connection.connect(settings, read_only=True) as con, database.connected() as server:
        total = connection.scalar(con, "select count(*) from fct_purchase_propensity")
        if not total:
            raise RestockError(
                "there are no purchase probabilities. Run `restock run`, with orders that have "
                "times."
            )
        if server[COLLECTION].find_one({"batch_id": {"$exists": False}}):
            raise SettingsError(
                f"Refusing to overwrite {place}: it has documents Restock did not write. "
                "Name another database with --to."
            )
        rows = con.execute("select * from fct_purchase_propensity order by rank")
        names = [name for name, *_ in rows.description or ()]
        new = server[f"{COLLECTION}_{secrets.token_hex(4)}"]
        done = 0
        try:
            while batch := rows.fetchmany(BATCH):
                new.insert_many(_document(names, row) for row in batch)
                done += len(batch)
                progress(f"writing {place}", done, total)
            new.rename(COLLECTION, dropTarget=True)
        except BaseException:
            with suppress(Exception):  # The connection may be lost.
                new.drop()
            raise
    return {"rows": total, "path": place}


def _document(names: list[str], row: tuple[Any, ...]) -> dict[str, Any]:
    values = (value.isoformat() if isinstance(value, datetime) else value for value in row)
    document = dict(zip(names, values, strict=True))
    return {"_id": document["user_id"], **document}
