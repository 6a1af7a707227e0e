"""The log of a command: lines with a time stamp, a level and the step.

A log file has every line. So has the standard error if it is no terminal, as under cron or systemd.
"""

import logging
import re
from logging.handlers import WatchedFileHandler
from pathlib import Path

from ml.errors import SettingsError

LOG = logging.getLogger("restock")
"""The logger of a command; the one of a step is its child."""
_FORMAT = logging.Formatter(
    "%(asctime)s %(levelname)s %(name)s: %(message)s", "%Y-%m-%dT%H:%M:%S%z"
)
_LINE = re.compile(rb"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[+-]\d{4} [A-Z]+ restock\b")


def start(file: Path | None, *, to_stderr: bool, quiet: bool) -> None:
    """Send the log to a file, which may have older lines, and to the standard error.

    The file is opened again if it was renamed, as logrotate does.

    Args:
        file: the log file; None for none.
        to_stderr: whether the standard error gets the log too.
        quiet: whether the standard error gets errors only.

    Raises:
        SettingsError: the file is not writable, or is something other than a log of Restock.
    """
    LOG.setLevel(logging.INFO)
    LOG.propagate = False
    LOG.handlers = [logging.NullHandler()]
    if to_stderr:
        stderr = logging.StreamHandler()
        stderr.addFilter(lambda record: not record.exc_info)  # Python prints the traceback there
        _add(stderr, logging.ERROR if quiet else logging.INFO)
    if file:
        _add(_opened(file), logging.INFO)


def _add(handler: logging.Handler, level: int) -> None:
    handler.setFormatter(_FORMAT)
    handler.setLevel(level)
    LOG.addHandler(handler)


def _opened(file: Path) -> logging.Handler:
    try:
        if file.is_file() and file.stat().st_size:
            with file.open("rb") as lines:
                if not _LINE.match(lines.read(100)):
                    raise SettingsError(
                        f"Refusing to append to {file}: it is not a log of Restock. Set --log-file "
                        "to a new file."
                    )
        return WatchedFileHandler(file, encoding="utf-8")
    except OSError as error:
        raise SettingsError(
            f"cannot write to {file} ({str(error.strerror).lower()}). Set --log-file to a file in "
            "a folder that exists and that you can write to."
        ) from None
