"""One process that answers over HTTP until it is told to end: `restock serve`, `restock app`."""

import ipaddress
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from ml.errors import SettingsError
from ml.settings import Settings


def serve(settings: Settings, *, host: str, port: int) -> None:
    """Answer requests of the REST API, see `run`."""

    def create() -> Any:
        from ml.serving.api import create

        return create(settings)

    run(
        create,
        settings,
        host=host,
        port=port,
        extra="serve",
        hint="see /docs",
        loop="uvloop",
        http="httptools",
    )


def is_loopback(host: str) -> bool:
    """Return whether an address reaches this machine only."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def run(
    create: Callable[[], Any],
    settings: Settings,
    *,
    host: str,
    port: int,
    extra: str,
    hint: str,
    **options: Any,
) -> None:
    """Answer requests until SIGTERM or SIGINT, then finish those in progress.

    Args:
        create: imports and returns the ASGI application.
        settings: the settings.
        host: address to listen on.
        port: port; 0 takes a free one.
        extra: extra of the package that the application needs.
        hint: what to say after the address.
        options: of uvicorn.

    Raises:
        SettingsError: the extra is not installed, the address cannot be used, or other machines
            could reach a server without a key.
    """
    try:
        import uvicorn

        app = create()
    except ImportError as error:
        raise SettingsError(
            f"the server needs the package {error.name}: run pip install 'restock[{extra}]'"
        ) from None
    if not settings.api_key and not is_loopback(host):
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
        app,
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=10,
        **options,
    )
    with _listening(host, port) as listener:
        print(
            f"Serving on http://{_shown(host)}:{listener.getsockname()[1]}, {hint}. "
            "Ctrl-C ends it.",
            file=sys.stderr,
            flush=True,
        )
        Server(config).run(sockets=[listener])


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
