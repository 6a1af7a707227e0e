"""The command `restock app`: Streamlit in one process, until it is told to end."""

from pathlib import Path
from typing import Any

from ml.serving import server
from ml.settings import Settings

SCRIPT = Path(__file__).with_name("main.py")
"""What Streamlit runs for every visitor, and again at every change that they make."""
_OPTIONS = {
    "browser.gatherUsageStats": False,
    "client.showErrorDetails": "none",  # they are in the log
    "client.showErrorLinks": False,
    "client.toolbarMode": "minimal",
    "server.fileWatcherType": "none",
    "server.maxUploadSize": 50,  # MiB
    "theme.primaryColor": "#0f766e",
    "theme.chartCategoricalColors": ["#0f766e", "#c2410c"],
}


def serve(settings: Settings, *, host: str, port: int) -> None:
    """Serve the app, see `ml.serving.server.run`. A visitor needs the key if there is one."""

    def create() -> Any:
        from streamlit import config, net_util
        from streamlit.starlette import App

        for name, value in _OPTIONS.items():
            config.set_option(name, value)
        if server.is_loopback(host):
            # A page of another site must not reach the app by a name that leads to this machine.
            config.set_option("server.allowedHosts", ["localhost", "127.0.0.1", "::1", host])
        # Streamlit would ask a server elsewhere for it, to compare it with the origin of a request.
        net_util._external_ip = ""
        return App(SCRIPT)

    server.run(create, settings, host=host, port=port, extra="app", hint="open it in a browser")
