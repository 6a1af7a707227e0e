"""The published release as the server sees it: its index, and live scores for requests in groups.

`follow` notices within a fraction of a second that a run or a rollback published another release,
or that a single step scored it again. One assignment swaps the index, and each request takes it
once, so an answer is of one batch. The arrays of the old index live as long as a request has them.
"""

import asyncio
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from ml.errors import RestockError
from ml.serving.index import LINK, Index
from ml.serving.live import Live, Request, Scored
from ml.settings import Settings

LOOK_EVERY_SECONDS = 0.2
GATHER_SECONDS = 0.005
"""How long a live request waits for others, to be scored with them in one statement."""
_MOST_TOGETHER, _MOST_ITEMS_TOGETHER, _MOST_WAITING = 50, 50_000, 500
T = TypeVar("T")
_Waiting = tuple[Index, Request, asyncio.Future[Scored]]


class OverloadedError(RestockError):
    """Too many requests are waiting."""


class Published:
    """The published release.

    Attributes:
        index: its index; None before the first run.
        swaps: how often another index took its place.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.index: Index | None = None
        self.swaps = 0
        self._live: tuple[Path, Live] | None = None
        self._waiting: asyncio.Queue[_Waiting] = asyncio.Queue(_MOST_WAITING)
        # One thread: scores of one group use one core, and the next group gathers meanwhile.
        self._thread = ThreadPoolExecutor(1, "live")

    def look(self) -> None:
        """Open the index of the published release, if it is another one."""
        release = Path(os.path.realpath(self._settings.warehouse)).parent
        folder = Path(os.path.realpath(release / LINK))
        if self.index and folder == self.index.folder:
            return
        try:
            index = Index(folder)
        except RestockError:
            # A release of an earlier Restock has none, or another one. That of another release
            # would mislead.
            self.index = None
            return
        self.swaps += self.index is not None
        self.index = index
        if self._live:  # so that the next request need not wait for the model
            self._thread.submit(self._live_of, index)

    async def follow(self) -> None:
        """Look for another release from now on."""
        while True:
            await asyncio.sleep(LOOK_EVERY_SECONDS)
            try:
                self.look()
            except (OSError, ValueError):
                continue  # the release was removed meanwhile: look again

    async def score(self, index: Index, request: Request) -> Scored:
        """Return the live scores of a request, with the model and the orders of an index's release.

        Raises:
            RequestError: the request cannot be scored.
            OverloadedError: too many requests are waiting.
            BusyError: a step is writing the warehouse.
            RestockError: the release is gone.
        """
        answer: asyncio.Future[Scored] = asyncio.get_running_loop().create_future()
        try:
            self._waiting.put_nowait((index, request, answer))
        except asyncio.QueueFull:
            raise OverloadedError(
                f"{_MOST_WAITING} requests are waiting for live scores. Try again in a moment."
            ) from None
        return await answer

    async def answer_waiting(self) -> None:
        """Score the requests of `score` in groups from now on."""
        loop = asyncio.get_running_loop()
        while True:
            group = [await self._waiting.get()]
            await asyncio.sleep(GATHER_SECONDS)
            items = _items(group[0])
            while (
                len(group) < _MOST_TOGETHER
                and items < _MOST_ITEMS_TOGETHER
                and not self._waiting.empty()
            ):
                group.append(self._waiting.get_nowait())
                items += _items(group[-1])
            for folder in dict.fromkeys(index.folder for index, _, _ in group):
                of_index = [waiting for waiting in group if waiting[0].folder == folder]
                requests = [request for _, request, _ in of_index]
                try:
                    answers: Sequence[Scored | Exception] = await loop.run_in_executor(
                        self._thread, self._score, of_index[0][0], requests
                    )
                except Exception as error:
                    answers = [error] * len(of_index)
                for (_, _, future), answer in zip(of_index, answers, strict=True):
                    if future.done():  # the client has gone
                        continue
                    if isinstance(answer, Exception):
                        future.set_exception(answer)
                    else:
                        future.set_result(answer)

    def use(self, index: Index, function: Callable[[Live], T]) -> T:
        """Return what a function makes of the live scores of an index's release, and wait for it.

        For callers without an event loop. `Live` has one thread, and they all take turns.

        Raises:
            BusyError: a step is writing the warehouse.
            RestockError: the release is gone.
        """
        return self._thread.submit(lambda: function(self._live_of(index))).result()

    def settings_of(self, index: Index) -> Settings:
        """Return the settings with the warehouse of an index's release, whichever is published."""
        warehouse = index.folder.parent / self._settings.warehouse.name
        return replace(self._settings, warehouse=warehouse)

    def close(self) -> None:
        """Free what live scores need."""
        self._thread.shutdown(cancel_futures=True)
        if self._live:
            self._live[1].close()

    def _score(self, index: Index, requests: Sequence[Request]) -> Sequence[Scored | Exception]:
        return self._live_of(index).score(requests)

    def _live_of(self, index: Index) -> Live:
        """Return the live scores of an index's release. Only the thread calls this."""
        if not self._live or self._live[0] != index.folder:
            if self._live:
                self._live[1].close()
                self._live = None
            batch = index.batches["reorder"]
            assert batch  # every release has reorder scores
            self._live = (index.folder, Live(self.settings_of(index), batch.model_version))
        return self._live[1]


def _items(waiting: _Waiting) -> int:
    return sum(len(order.product_ids) for order in waiting[1].orders)
