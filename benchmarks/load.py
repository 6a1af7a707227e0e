"""An open-loop load generator: requests go out on a fixed schedule, whatever the answers do.

Latency counts from the scheduled time, so a server that stalls pays for every request that was due
meanwhile. Generators that wait for an answer before the next request hide that.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

Judge = Callable[[int, bytes, bytes], bool]
"""Whether an answer is right, from its status, its headers and its body."""


@dataclass
class Load:
    """What a load measured: seconds from the schedule to the whole answer, and failed requests."""

    latency: list[float] = field(default_factory=list)
    errors: int = 0
    seconds: float = 0.0

    def quantile(self, share: float) -> float:
        """Return a quantile of the latency in milliseconds."""
        ordered = sorted(self.latency)
        return ordered[min(int(share * len(ordered)), len(ordered) - 1)] * 1000


class _Connection(asyncio.Protocol):
    """A connection that is kept open and has one request at a time."""

    def __init__(self, pool: "_Pool") -> None:
        self.pool = pool
        self.data = b""
        self.due = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.data += data
        head, found, body = self.data.partition(b"\r\n\r\n")
        if not found:
            return
        length = head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0]
        if len(body) >= int(length or 0):
            self.data = b""
            self.pool.done(self, int(head[9:12]), head, body)

    def connection_lost(self, error: Exception | None) -> None:
        self.pool.lost(self)


class _Pool:
    def __init__(self, load: Load, is_right: Judge) -> None:
        self.load, self.is_right = load, is_right
        self.free: list[_Connection] = []
        self.waiting: deque[tuple[float, bytes]] = deque()
        self.open = 0

    def send(self, due: float, request: bytes) -> None:
        self.open += 1
        self.waiting.append((due, request))
        self._next()

    def done(self, connection: _Connection, status: int, head: bytes, body: bytes) -> None:
        self.load.latency.append(time.perf_counter() - connection.due)
        self.load.errors += not self.is_right(status, head, body)
        self.open -= 1
        self.free.append(connection)
        self._next()

    def lost(self, connection: _Connection) -> None:
        if connection in self.free:
            self.free.remove(connection)
        elif connection.due:
            self.load.errors += 1
            self.open -= 1

    def _next(self) -> None:
        while self.free and self.waiting:
            connection = self.free.pop()
            connection.due, request = self.waiting.popleft()
            connection.transport.write(request)  # type: ignore[attr-defined]


async def run(
    port: int,
    requests: Sequence[bytes],
    *,
    rate: float,
    seconds: float,
    connections: int = 32,
    is_right: Judge = lambda status, head, body: status == 200,
) -> Load:
    """Send requests in turn to a port of this machine, ``rate`` each second, and time the answers.

    A rate of 0 sends the next request when the last one is answered.
    """
    load = Load()
    pool = _Pool(load, is_right)
    loop = asyncio.get_running_loop()
    for _ in range(connections if rate else 1):
        _, connection = await loop.create_connection(lambda: _Connection(pool), "127.0.0.1", port)
        pool.free.append(connection)
    started = time.perf_counter()
    sent = 0
    while (now := time.perf_counter() - started) < seconds:
        if rate:
            while sent < now * rate:
                pool.send(started + sent / rate, requests[sent % len(requests)])
                sent += 1
            await asyncio.sleep(0.0005)
        else:
            pool.send(time.perf_counter(), requests[sent % len(requests)])
            sent += 1
            while pool.open:
                await asyncio.sleep(0.0002)
    while pool.open and time.perf_counter() - started < seconds + 30:
        await asyncio.sleep(0.01)
    load.errors += pool.open
    load.seconds = time.perf_counter() - started
    for connection in pool.free:
        connection.due = 0.0
        connection.transport.close()
    return load


def get(path: str) -> bytes:
    """Return a GET request."""
    return f"GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n".encode()


def post(path: str, body: bytes) -> bytes:
    """Return a POST request with a JSON body."""
    head = (
        f"POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
        f"content-length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body
