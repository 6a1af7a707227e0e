"""The command `restock serve`: one process that answers over HTTP until it is told to end."""

import ipaddress
import signal
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ml.errors import SettingsError
from ml.settings import Settings


def serve(settings: Settings, *, host: str, port: int) -> None:
    """Answer requests until SIGTERM or SIGINT, then finish those in progress.

    Raises:
        SettingsError: the extra ``serve`` is not installed, the address cannot be used, or other
            machines could reach a server without a key.
    """
    try:
        import uvicorn

        from ml.serving.api import create
    except ImportError as error:
        raise SettingsError(
            f"the server needs the package {error.name}: run pip install 'restock[serve]'"
        ) from None
    if not settings.api_key and not _is_loopback(host):
        raise SettingsError(
            f"--host {host} lets other machines read your shoppers' data. Set RESTOCK_API_KEY to a "
            "long random text, or leave out --host."
        )
    # The model's compiled code is cached in the workspace.
    settings.prepare_workspace()

    class Server(uvicorn.Server):
        @contextmanager
        def capture_signals(self) -> Iterator[None]:
            """Leave out that the process ends by the signal: a graceful end is no failure."""
            for number in (signal.SIGINT, signal.SIGTERM):
                signal.signal(number, self.handle_exit)
            yield

    config = uvicorn.Config(
        create(settings),
        loop="uvloop",
        http="httptools",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=10,
    )
    with _listening(host, port) as listener:
        print(
            f"Serving on http://{_shown(host)}:{listener.getsockname()[1]}, see /docs. "
            "Ctrl-C ends it.",
            file=sys.stderr,
            flush=True,
        )
        Server(config).run(sockets=[listener])


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _listening(host: str, port: int) -> socket.socket:
    family: Any = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=2048)
    except (OSError, OverflowError) as error:
        raise SettingsError(
            f"cannot listen on {host}, port {port}: {error}. Choose others with --host and --port."
        ) from None


def _shown(host: str) -> str:
    return f"[{host}]" if ":" in host else host
