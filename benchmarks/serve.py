"""Measures `restock serve` against its bars, and prints a table.

    python benchmarks/serve.py WAREHOUSE [--seconds 60] [--copies 16]

WAREHOUSE is a published one, such as warehouse/restock.duckdb after `make run`. It is only read:
the server gets releases of its own in a temporary folder beside it, with hard links to the files.
Run it on a machine that does nothing else. The table names the load and the time that other
virtual machines took.
"""

import argparse
import asyncio
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from load import Load, get, post, run

from ml.registry.links import replace_link

BARE = """
import sys, socket, uvicorn
body = b"x" * 3500
head = [(b"content-type", b"application/json"), (b"content-length", b"3500")]
async def app(scope, receive, send):
    await send({"type": "http.response.start", "status": 200, "headers": head})
    await send({"type": "http.response.body", "body": body})
listener = socket.create_server(("127.0.0.1", 0))
print("http://127.0.0.1:%d" % listener.getsockname()[1], file=sys.stderr, flush=True)
config = uvicorn.Config(app, loop="uvloop", http="httptools", lifespan="off", access_log=False,
                        log_config=None)
uvicorn.Server(config).run(sockets=[listener])
"""


class Server:
    """A server process: its port, the CPU time it used, and its memory."""

    def __init__(self, process: subprocess.Popen[str], port: int) -> None:
        self.process, self.port = process, port

    def cpu_seconds(self) -> float:
        """Return the CPU seconds so far."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def memory_mib(self) -> float:
        """Return the resident memory, of which `files` is the part that maps files."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.search(r"VmRSS:\s+(\d+)", status)[1]) / 1024  # type: ignore[index]

    def load(self, requests: Sequence[bytes], **options: Any) -> tuple[Load, float]:
        """Run a load, and return it with the CPU milliseconds of a request."""
        before = self.cpu_seconds()
        load = asyncio.run(run(self.port, requests, **options))
        return load, (self.cpu_seconds() - before) / max(len(load.latency), 1) * 1000


@contextmanager
def started(command: Sequence[str], **variables: str) -> Iterator[Server]:
    """Start a server that prints its address, and check that it ends in good order."""
    with subprocess.Popen(
        command,
        env=os.environ | variables,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert process.stderr
            found = re.search(r"http://127.0.0.1:(\d+)", process.stderr.readline())
            assert found, process.stderr.read()
            yield Server(process, int(found[1]))
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(30)


def release(warehouse: Path, folder: Path, name: str, *, copies: int = 1) -> Path:
    """Make a release with the files of the published one and a batch ID of its own."""
    source = warehouse.resolve().parent
    made = folder / f"{warehouse.name}.releases" / name
    (made / "index").mkdir(parents=True)
    os.link(source / warehouse.name, made / warehouse.name)
    for path in (source / "index").resolve().iterdir():
        if path.name != "batches.json" and copies == 1:
            os.link(path, made / "index" / path.name)
    if copies > 1:
        enlarge((source / "index").resolve(), made / "index", copies)
    batches = json.loads((source / "index" / "batches.json").read_text())
    batches["reorder"]["batch_id"] = name
    (made / "index" / "batches.json").write_text(json.dumps(batches))
    return made


def enlarge(index: Path, out: Path, copies: int) -> None:
    """Write an index with the shoppers of another several times, under new IDs."""
    for name in ("products.arrow", "reasons.arrow"):
        os.link(index / name, out / name)
    counts = {}
    for path in index.glob("*.npy"):
        array = np.load(path, mmap_mode="r")
        counts[path.stem] = len(array)
        np.save(out / path.name, np.tile(array, copies))
    shoppers = pa.ipc.open_file(pa.memory_map(str(index / "shoppers.arrow"))).read_all()
    step = pc.max(shoppers["user_id"]).as_py() + 1
    parts = []
    for copy in range(copies):
        part = shoppers
        shifts = {
            "user_id": step,
            "first_pair": counts["product"],
            "first_reason": counts["reason"],
            "first_new": counts["new_product"],
        }
        for column, by in shifts.items():
            at = part.schema.get_field_index(column)
            part = part.set_column(at, column, pc.add(part[column], copy * by))
        parts.append(part)
    whole = pa.concat_tables(parts).combine_chunks()
    with (
        pa.OSFile(str(out / "shoppers.arrow"), "wb") as file,
        pa.ipc.new_file(file, whole.schema) as writer,
    ):
        writer.write_table(whole, max_chunksize=len(whole))


def stolen() -> float:
    """Return the CPU seconds that other virtual machines took, of all cores."""
    return int(Path("/proc/stat").read_text().split()[8]) / os.sysconf("SC_CLK_TCK")


def say(what: str, bar: str, measured: str) -> None:
    """Print a row of the table."""
    load = os.getloadavg()[0]
    print(f"| {what} | {bar} | {measured} | {load:.1f}, {stolen() - BEGAN:.1f} s |", flush=True)


def percentiles(load: Load) -> str:
    """Return the percentiles of a load, its errors and its rate."""
    return (
        f"{load.quantile(0.5):.2f} ms, {load.quantile(0.99):.2f} ms, {load.errors} errors, "
        f"{len(load.latency) / load.seconds:,.0f}/s"
    )


def main() -> None:
    """Measure everything."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("warehouse", type=Path)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--copies", type=int, default=16)
    options = parser.parse_args()
    warehouse, seconds = options.warehouse.absolute(), options.seconds
    with duckdb.connect(str(warehouse), read_only=True) as con:
        users = [row[0] for row in con.execute("select user_id from dim_users").fetchall()]
    np.random.default_rng(0).shuffle(users)
    gets = [get(f"/shoppers/{user_id}/predictions?limit=20") for user_id in users]
    posts = [post("/predict", json.dumps({"user_id": user_id}).encode()) for user_id in users]
    # The models are beside the warehouse, or in the workspace of a clone.
    models = next(
        path for path in (Path(f"{warehouse}.models"), warehouse.parent / "models") if path.exists()
    )
    serve = [sys.executable, "-c", "from ml.cli import main; main()", "serve", "--port", "0"]
    print("| what | reach at least | measured | load, stolen |\n| --- | --- | --- | --- |")

    with TemporaryDirectory(prefix=".serve-", dir=warehouse.parent) as name:
        folder = Path(name)
        place = folder / warehouse.name
        variables = {"RESTOCK_WAREHOUSE": str(place), "RESTOCK_MODELS": str(models)}
        current = Path(f"{place}.current")
        first = release(warehouse, folder, "00000000")
        replace_link(current, first)
        replace_link(place, current / place.name)

        with started([sys.executable, "-c", BARE]) as bare:
            bare.load(gets, rate=1000, seconds=2)
            load, floor = bare.load(gets, rate=1000, seconds=seconds / 2)
            say("a bare ASGI app at 1,000/s", "-", f"{percentiles(load)}, {floor:.2f} ms CPU")
        with started(serve, **variables) as server:
            server.load(gets, rate=1000, seconds=2)
            load, cpu = server.load(gets, rate=1000, seconds=seconds)
            say("GET at 1,000/s: p50, p99", "0.8 ms, 5 ms, 0 errors", percentiles(load))
            say(
                "CPU of a GET",
                "0.6 ms, at most twice the bare app's",
                f"{cpu:.2f} ms, {cpu / floor:.1f} times",
            )
            say("resident memory", "300 MiB", f"{server.memory_mib():.0f} MiB")
            say(
                "POST /predict, the first",
                "-",
                percentiles(server.load(posts, rate=0, seconds=0.001)[0]),
            )
            server.load(posts, rate=0, seconds=5)
            load, cpu = server.load(posts, rate=0, seconds=seconds / 2)
            say(
                "POST /predict, one at a time",
                "60 ms, 100 ms",
                f"{percentiles(load)}, {cpu:.0f} ms CPU",
            )
            load, cpu = server.load(posts, rate=1000 / 60, seconds=seconds)
            say("POST /predict at 17/s: p99", "150 ms", f"{percentiles(load)}, {cpu:.0f} ms CPU")
            say("resident memory with live scores", "-", f"{server.memory_mib():.0f} MiB")
            say(*swaps(server, warehouse, folder, current, first, gets, seconds))
        shutil.rmtree(first)
        large = release(warehouse, folder, "ffffffff", copies=options.copies)
        replace_link(current, large)
        pairs = len(np.load(large / "index" / "product.npy", mmap_mode="r"))
        with started(serve, **variables) as server:
            server.load(gets, rate=1000, seconds=2)
            load, cpu = server.load(gets, rate=1000, seconds=seconds)
            say(f"the same at {pairs:,} pairs", "0.8 ms, 5 ms, 0 errors", percentiles(load))
            say(
                "resident memory",
                "300 MiB",
                f"{server.memory_mib():.0f} MiB, {cpu:.2f} ms CPU a GET",
            )


def swaps(
    server: Server,
    warehouse: Path,
    folder: Path,
    current: Path,
    first: Path,
    gets: Sequence[bytes],
    seconds: float,
) -> tuple[str, str, str]:
    """Publish 20 releases and roll back 5 times under load, and return the row of the table."""
    order = [release(warehouse, folder, f"{number:08x}") for number in range(1, 21)]
    order += [order[18], order[17], first, order[3], order[19]]
    seen: list[tuple[float, bytes]] = []
    published: list[tuple[float, bytes]] = []

    def is_one_batch(status: int, head: bytes, body: bytes) -> bool:
        batch = body[13:21]
        seen.append((asyncio.get_running_loop().time(), batch))
        return status == 200 and b'etag: "' + batch in head

    async def both() -> Load:
        async def publish() -> None:
            for made in order:
                await asyncio.sleep(seconds / 26)
                published.append((asyncio.get_running_loop().time(), made.name.encode()))
                replace_link(current, made)

        publishing = asyncio.create_task(publish())
        load = await run(server.port, gets, rate=500, seconds=seconds, is_right=is_one_batch)
        await publishing
        return load

    load = asyncio.run(both())
    delays = [
        next((at - when for at, batch in seen if at > when and batch == name), float("inf"))
        for when, name in published
    ]
    return (
        "20 releases and 5 rollbacks at 500/s",
        "0 errors, seen within 1 s",
        f"{load.errors} errors, seen within {max(delays):.2f} s",
    )


BEGAN = stolen()
if __name__ == "__main__":
    main()
