"""What happens to every request: limits, an ID, a line in the access log, and metrics.

Plain ASGI, because it runs for every request.
"""

import asyncio
import json
import re
import secrets
import time
import traceback
from datetime import UTC, datetime

from prometheus_client import CollectorRegistry, Counter, Histogram
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

MOST_BODY_BYTES = 256 * 1024
MOST_IN_FLIGHT = 1_000
BODY_SECONDS = 10
"""Time in which a client must send the body of a request."""

_BUG = "This is a bug. Report it with the error in the output of `restock serve`."
_REQUEST_ID = re.compile(rb"[\w.-]{1,64}")


def problem(
    status: int, title: str, detail: str, headers: dict[str, str] | None = None
) -> tuple[Message, Message]:
    """Return the messages of an answer with problem details."""
    body = {"type": "about:blank", "title": title, "status": status, "detail": detail}
    shown = {"content-type": "application/problem+json", **(headers or {})}
    return (
        {
            "type": "http.response.start",
            "status": status,
            "headers": [(name.encode(), value.encode()) for name, value in shown.items()],
        },
        {"type": "http.response.body", "body": json.dumps(body).encode()},
    )


class Watch:
    """Middleware that bounds, counts and logs requests."""

    def __init__(self, app: ASGIApp, registry: CollectorRegistry) -> None:
        self._app = app
        self._in_flight = 0
        self._requests = Counter(
            "restock_requests", "Requests.", ("route", "method", "status"), registry=registry
        )
        self._seconds = Histogram(
            "restock_request_seconds",
            "Seconds from the request to the end of the answer.",
            ("route",),
            buckets=(0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 5),
            registry=registry,
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = time.perf_counter()
        headers = dict(scope["headers"])
        given = headers.get(b"x-request-id", b"")
        request_id = given if _REQUEST_ID.fullmatch(given) else secrets.token_hex(8).encode()
        status = 0

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message["headers"], (b"x-request-id", request_id)]
            await send(message)

        self._in_flight += 1
        try:
            if (refusal := self._refusal(headers)) is not None:
                for message in refusal:
                    await send_with_id(message)
            else:
                await self._app(scope, _bounded(receive), send_with_id)
        except Exception:
            traceback.print_exc()
            if status:  # the answer has begun
                raise
            for message in problem(500, "Internal Server Error", _BUG):
                await send_with_id(message)
        finally:
            self._in_flight -= 1
            self._record(scope, request_id.decode(), status, time.perf_counter() - started)

    def _refusal(self, headers: dict[bytes, bytes]) -> tuple[Message, Message] | None:
        """Return the answer to a request that is not handled."""
        if self._in_flight > MOST_IN_FLIGHT:
            detail = f"{MOST_IN_FLIGHT} requests are in progress. Try again in a second."
            return problem(503, "Service Unavailable", detail, {"retry-after": "1"})
        length = headers.get(b"content-length", b"0")
        if length.isdigit() and int(length) > MOST_BODY_BYTES:
            return problem(413, "Content Too Large", _too_large(), {"connection": "close"})
        return None

    def _record(self, scope: Scope, request_id: str, status: int, seconds: float) -> None:
        route = getattr(scope.get("route"), "path", "other")
        self._requests.labels(route, scope["method"], status).inc()
        self._seconds.labels(route).observe(seconds)
        line = {
            "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
            "request_id": request_id,
            "client": scope["client"][0] if scope.get("client") else None,
            "method": scope["method"],
            "path": scope["path"],
            "status": status,
            "ms": round(seconds * 1000, 2),
        }
        print(json.dumps(line), flush=True)


def _too_large() -> str:
    return f"The body has more than {MOST_BODY_BYTES:,} bytes. Send fewer orders or products."


def _bounded(receive: Receive) -> Receive:
    """Return a ``receive`` that raises an HTTPException if a body is too large or too slow."""
    size = 0
    is_whole = False

    async def bounded() -> Message:
        nonlocal size, is_whole
        if is_whole:  # waits for the client to disconnect, which takes as long as it takes
            return await receive()
        try:
            message = await asyncio.wait_for(receive(), BODY_SECONDS)
        except TimeoutError:
            raise HTTPException(408, f"The body did not arrive within {BODY_SECONDS} s.") from None
        size += len(message.get("body", b""))
        is_whole = not message.get("more_body", False)
        if size > MOST_BODY_BYTES:
            raise HTTPException(413, _too_large(), {"connection": "close"})
        return message

    return bounded
