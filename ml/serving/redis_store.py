"""Documents in Redis: a hash with a field for each, ``shopper:<id>`` or ``product:<id>``.

Readers see the hash `CURRENT`. A batch is written to the hash `OTHER`, and renaming swaps the two.
The field `BATCH` names the batch of a hash. A command watches the hash that it changes, so it fails
if another process has changed it.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import redis

from ml.serving import store
from ml.serving.store import Document

CURRENT, OTHER, _SWAP = "restock:current", "restock:other", "restock:swap"
BATCH = "batch"
_NEEDS = "~restock:* +@read +@write +@transaction +@connection"
_OPTIONS: dict[str, Any] = {
    "client_name": "restock",
    "decode_responses": True,
    "socket_connect_timeout": 5,
    "socket_timeout": 60,
}


class _Redis:
    """A Redis database."""

    def __init__(self, place: str, client: redis.Redis) -> None:
        self._place = place
        self._client = client
        for key in (CURRENT, OTHER):
            if client.exists(key) and not (client.type(key) == "hash" and self._batch(key)):
                raise store.foreign(place, f"the key {key}")

    def published(self) -> str | None:
        return self._batch(CURRENT)

    def begin(self, batch: str) -> int:
        if self._batch(OTHER) != batch:
            with self._client.pipeline() as together:
                together.unlink(OTHER)
                together.hset(OTHER, BATCH, batch)
                together.execute()
        return self._client.hlen(OTHER) - 1

    def write(self, batch: str, documents: Sequence[Document]) -> None:
        with self._changing(batch) as together:
            fields: dict[Any, Any] = {f"{kind}:{id}": text for kind, id, text in documents}
            together.hset(OTHER, mapping=fields)

    def switch(self, batch: str) -> None:
        had_one = self._client.exists(CURRENT)
        with self._changing(batch) as together:
            if had_one:
                together.rename(CURRENT, _SWAP)
            together.rename(OTHER, CURRENT)
            if had_one:
                together.rename(_SWAP, OTHER)

    def _batch(self, key: str) -> str | None:
        found = self._client.hget(key, BATCH)
        return None if found is None else str(found)

    @contextmanager
    def _changing(self, batch: str) -> Iterator[redis.client.Pipeline]:
        """Yield a transaction, which fails if `OTHER` is not of a batch or changes meanwhile."""
        with self._client.pipeline() as together:
            together.watch(CURRENT, OTHER)
            if together.hget(OTHER, BATCH) != batch:
                raise store.in_use(self._place)
            together.multi()
            yield together
            together.execute()


@contextmanager
def connected(address: str, place: str) -> Iterator[_Redis]:
    """Connect, and turn the errors of redis-py into ours; see `ml.serving.store.connected`."""
    errors = redis.exceptions
    try:
        client = redis.Redis.from_url(address, **_OPTIONS)
    except ValueError:  # The text may have a password.
        raise store.invalid(place) from None
    try:
        with client:
            yield _Redis(place, client)
    except (errors.AuthenticationError, errors.NoPermissionError) as error:
        raise store.rejected(place, str(error), _NEEDS) from None
    except (errors.ConnectionError, errors.TimeoutError):
        raise store.unreachable(place) from None
    except errors.WatchError:
        raise store.in_use(place) from None
    except errors.RedisError as error:
        raise store.failed(place, error) from None
