"""Real servers of Redis and PostgreSQL for a test, with empty folders and on free ports."""

import os
import pwd
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import mkdtemp

import psycopg
import pytest
import redis

PASSWORD = "s3cr3t@w/rd"
ENCODED = "s3cr3t%40w%2Frd"


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


@contextmanager
def _running(command: list[str], answers: Callable[[], object], folder: Path) -> Iterator[None]:
    """Run a server until the end of the block, which starts when the server answers."""
    with (folder / "log").open("wb") as log:
        server = subprocess.Popen(command, stdout=log, stderr=log, cwd=folder)
    try:
        deadline = time.monotonic() + 60
        while True:
            try:
                answers()
                break
            except (redis.ConnectionError, psycopg.OperationalError):
                ended = server.poll() is not None or time.monotonic() > deadline
                assert not ended, (folder / "log").read_text()
                time.sleep(0.05)
        yield
    finally:
        server.send_signal(signal.SIGINT)  # PostgreSQL ends open connections too
        server.wait(30)


@contextmanager
def running_redis(folder: Path) -> Iterator[str]:
    """Run a Redis server, and yield its address with the password."""
    if not (program := shutil.which("redis-server")):
        pytest.skip("redis-server is not installed: apt-get install redis-server")
    port = free_port()
    address = f"redis://:{ENCODED}@127.0.0.1:{port}"
    options = ["--port", str(port), "--bind", "127.0.0.1", "--save", "", "--requirepass", PASSWORD]
    with _running([program, *options], redis.Redis.from_url(address).ping, folder):
        yield address


@contextmanager
def running_postgres() -> Iterator[str]:
    """Run a PostgreSQL server, and yield its address with the password of the user ``shop``.

    The user owns the database ``shop``.
    """
    folders = [os.environ["PATH"], *map(str, Path("/usr/lib/postgresql").glob("*/bin"))]
    path = os.pathsep.join(folders)
    initdb, postgres = (shutil.which(name, path=path) for name in ("initdb", "postgres"))
    if not initdb or not postgres:
        pytest.skip("PostgreSQL is not installed: apt-get install postgresql")
    folder = Path(mkdtemp(prefix="restock-postgres-"))  # pytest's are closed to other users
    other_user = []
    if os.geteuid() == 0:  # which PostgreSQL refuses
        nobody = pwd.getpwnam("nobody")
        os.chown(folder, nobody.pw_uid, nobody.pw_gid)
        ids = (f"--reuid={nobody.pw_uid}", f"--regid={nobody.pw_gid}")
        other_user = ["setpriv", *ids, "--clear-groups"]
    data, port = folder / "data", free_port()
    secret = folder / "password"
    secret.write_text(PASSWORD)
    secret.chmod(0o644)
    options = [f"--pgdata={data}", "--username=shop", "--auth=scram-sha-256"]
    options += [f"--pwfile={secret}", "--no-sync", "--encoding=UTF8", "--no-locale"]
    subprocess.run([*other_user, initdb, *options], check=True, capture_output=True, cwd=folder)
    command = [*other_user, postgres, "-D", str(data), "-p", str(port), "-k", str(folder)]
    command += ["-h", "127.0.0.1", "-c", "fsync=off"]
    server = f"postgresql://shop:{ENCODED}@127.0.0.1:{port}"

    def create() -> None:
        with psycopg.connect(f"{server}/postgres", autocommit=True) as connection:
            connection.execute("create database shop")

    try:
        with _running(command, create, folder):
            yield f"{server}/shop"
    finally:
        shutil.rmtree(folder)
