"""The server: what it answers, what it refuses, and how it follows releases."""

import json
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import hypothesis
import pyarrow as pa
import pytest
import schemathesis
from conftest import ROOT, Place
from fastapi.testclient import TestClient

from ml.errors import SettingsError
from ml.registry.links import replace_link
from ml.serving import middleware, server
from ml.serving.api import create
from ml.serving.index import Index
from ml.serving.live import Live, Request
from ml.settings import Settings

pytestmark = pytest.mark.slow

KEY = "a long and random text"


@contextmanager
def serving(place: Place, key: str = "") -> Iterator[TestClient]:
    settings = replace(Settings.load(warehouse=place.warehouse), api_key=key)
    with TestClient(create(settings), raise_server_exceptions=False) as client:
        yield client


@pytest.fixture(scope="module")
def client(published: Place) -> Iterator[TestClient]:
    with serving(published) as client:
        yield client


@pytest.fixture(scope="module")
def dated(complete_journey: Place) -> Iterator[TestClient]:
    with serving(complete_journey) as client:
        yield client


@pytest.fixture(scope="module")
def index(published: Place) -> Index:
    return Index((published.warehouse.resolve().parent / "index").resolve())


def problem(answer: Any, status: int, *said: str) -> None:
    """Check that an answer has problem details that say something."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    body = answer.json()
    assert set(body) == {"type", "title", "status", "detail"} and body["status"] == status
    for text in said:
        assert text in body["detail"]


def test_look_ups_name_the_batch_and_have_the_rows_of_the_index(
    client: TestClient, index: Index, published: Place
) -> None:
    user_id = index.user_id(7)
    batch = vars(index.batches["reorder"])
    for path, rows in {
        "predictions": index.predictions(7, 20),
        "predictions?limit=3": index.predictions(7, 3),
        "basket": index.basket(7),
    }.items():
        answer = client.get(f"/shoppers/{user_id}/{path}")
        assert answer.status_code == 200
        expected = {**batch, "user_id": user_id, "is_live": False, "predictions": rows}
        assert answer.json() == expected
    found = client.get(f"/shoppers/{user_id}/discoveries").json()
    assert found == {**batch, "user_id": user_id, "discoveries": index.discoveries(7)}
    assert client.get("/ready").json() == {"status": "ready", **batch}
    product_id = index.product_id(3)
    demand = client.get(f"/products/{product_id}/demand").json()
    assert demand == {**batch, **index.demand(3)} and demand["week"] is None
    # Orders without dates say nothing about a day.
    propensity = client.get(f"/shoppers/{user_id}/propensity").json()
    assert propensity == {"user_id": user_id, "purchase": None, "purchase_week": None}


def test_windows_have_the_batch_of_their_own_task(
    dated: TestClient, complete_journey: Place
) -> None:
    propensity = dated.get("/shoppers/1/propensity").json()
    rows = complete_journey.query(
        "select purchase_probability, fct.batch_id, model_version "
        "from fct_purchase_propensity as fct inner join ml.purchase_batches using (batch_id) "
        "where user_id = 1"
    )
    names = ("purchase_probability", "batch_id", "model_version")
    assert [tuple(propensity["purchase"][name] for name in names)] == rows
    assert propensity["purchase_week"]["window_end_at"] == "2018-01-08T00:00:00"
    assert dated.get("/products/1082185/demand").json()["week"]["expected_units"] > 0


def test_a_demand_without_an_interval_has_no_ends(
    dated: TestClient, complete_journey: Place
) -> None:
    ((product_id,),) = complete_journey.query(
        "select product_id from fct_demand where level = 'product' and low_units is null limit 1"
    )
    answer = dated.get(f"/products/{product_id}/demand")
    assert answer.status_code == 200, answer.text
    assert answer.json()["week"]["low_units"] is answer.json()["week"]["high_units"] is None


def test_an_answer_that_a_client_has_is_not_sent_again(client: TestClient, index: Index) -> None:
    path = f"/shoppers/{index.user_id(0)}/basket"
    etag = client.get(path).headers["etag"]
    for known in (etag, f'W/{etag}, "other"', "*"):
        answer = client.get(path, headers={"if-none-match": known})
        assert answer.status_code == 304 and not answer.content
        assert answer.headers["etag"] == etag
    assert client.get(path, headers={"if-none-match": '"other"'}).status_code == 200
    problem(client.get("/shoppers/0/basket", headers={"if-none-match": etag}), 404)


def test_what_is_not_there_is_a_problem_that_says_what_to_do(client: TestClient) -> None:
    for user_id in ("0", "-1", "x", "1" * 30, "%00", "a%2Fb", "1%202", "\u0661", "1.0"):
        problem(client.get(f"/shoppers/{user_id}/basket"), 404, "POST /predict")
        problem(client.get(f"/products/{user_id}/demand"), 404, "dim_products")
    problem(client.get("/shoppers"), 404, "/docs")
    problem(client.post("/shoppers/1/basket"), 405)
    for limit in ("0", "1001", "x", "1e3", ""):
        problem(client.get(f"/shoppers/1/predictions?limit={limit}"), 422, "limit")
    problem(client.get(f"/shoppers/{'1' * 201}/basket"), 422)


def test_a_live_answer_without_newer_orders_has_the_published_scores(
    client: TestClient, index: Index
) -> None:
    user_id = index.user_id(5)
    live = client.post("/predict", json={"user_id": user_id, "limit": 1_000}).json()
    looked_up = client.get(f"/shoppers/{user_id}/predictions?limit=1000").json()
    assert live["is_live"] and live["batch_id"] == looked_up["batch_id"]
    for row, theirs in zip(live["predictions"], looked_up["predictions"], strict=True):
        assert row["reason"] and theirs["reason"] in (None, row["reason"])
        assert row | {"reason": ""} == theirs | {"reason": ""}
    assert client.post("/predict", json={"user_id": str(user_id)}).json()["predictions"]


def test_the_cart_is_left_out_and_unknown_products_are_named(
    client: TestClient, index: Index
) -> None:
    user_id, (first, second, third) = index.user_id(5), index.predictions(5, 3)
    order = {"product_ids": [first["product_id"], 10**12, "x"], "days_since_prior_order": 7}
    cart = [second["product_id"], "y"]
    whole = client.post("/predict", json={"user_id": user_id, "orders": [order]}).json()
    body = {"user_id": user_id, "orders": [order], "cart": cart}
    answer = client.post("/predict", json=body).json()
    assert answer["unknown_product_ids"] == [10**12, "x"]
    assert answer["left_out_product_ids"] == cart
    assert answer["new_order_count"] == 1 and answer["known_order_count"] > 1
    left = [row for row in whole["predictions"] if row["product_id"] != second["product_id"]]
    assert left[:10] == answer["predictions"][:10] and third["product_id"]
    # Orders of products that nobody has bought.
    nothing = {"orders": [{"product_ids": ["x"], "days_since_prior_order": 3}]}
    assert client.post("/predict", json=nothing).json()["predictions"] == []


def test_requests_at_the_same_time_are_scored_together(
    client: TestClient, index: Index, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ml.serving.published.GATHER_SECONDS", 0.5)
    sizes: list[int] = []
    score = Live.score

    def counted(live: Live, requests: Sequence[Request]) -> Any:
        sizes.append(len(requests))
        return score(live, requests)

    monkeypatch.setattr(Live, "score", counted)
    found: dict[Any, Any] = {}

    def ask(user_id: Any) -> None:
        found[user_id] = client.post("/predict", json={"user_id": user_id}).json()

    users = [index.user_id(row) for row in range(6)]
    threads = [threading.Thread(target=ask, args=(user_id,)) for user_id in [*users, -1]]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert max(sizes) > 1 and sum(sizes) == len(users)
    assert found.pop(-1)["status"] == 404
    for user_id, answer in found.items():
        theirs = client.get(f"/shoppers/{user_id}/predictions").json()["predictions"]
        ours = [(row["product_id"], row["reorder_probability"]) for row in answer["predictions"]]
        assert ours == [(row["product_id"], row["reorder_probability"]) for row in theirs]


ORDER = {"product_ids": [1], "ordered_at": "2018-01-02"}
MALFORMED: dict[str, Any] = {
    "no JSON": b"{",
    "nothing": b"",
    "text": b'"text"',
    "deeply nested": b"[" * 100_000,
    "deeply nested in a field": b'{"user_id":' + b"[" * 50_000 + b"]" * 50_000 + b"}",
    "a huge number": b'{"user_id": ' + b"9" * 10_000 + b"}",
    "not a number": b'{"user_id": NaN}',
    "infinity": b'{"limit": Infinity, "user_id": 1}',
    "half a character": b'{"user_id": "\\ud800"}',
    "no UTF-8": b'{"user_id": "\xff"}',
    "compressed": b"\x1f\x8b\x08\x00" + b"\x00" * 1_000,
    "nobody": {},
    "no such field": {"user": 1},
    "a flag for an ID": {"user_id": True},
    "a fraction for an ID": {"user_id": 1.5},
    "beyond 64 bits": {"user_id": 2**63},
    "a long ID": {"user_id": "1" * 201},
    "no products": {"orders": [{"product_ids": [], "ordered_at": "2018-01-02"}]},
    "null for products": {"orders": [{"product_ids": None}]},
    "201 orders": {"orders": [ORDER] * 201},
    "501 products": {"orders": [{**ORDER, "product_ids": list(range(501))}]},
    "no day": {"orders": [{**ORDER, "ordered_at": "2018-02-30"}]},
    "no day in a shop with dates": {"orders": [{"product_ids": [1]}]},
    "a day before the newest order": {"user_id": 1, "as_of": "2017-01-01"},
    "days in a shop with dates": {"user_id": 1, "as_of_days": 3},
    "an old order": {"user_id": 1, "orders": [{**ORDER, "ordered_at": "2016-01-01"}]},
}


@pytest.mark.parametrize("name", MALFORMED)
def test_a_malformed_body_is_refused_with_a_reason(dated: TestClient, name: str) -> None:
    body = MALFORMED[name]
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    answer = dated.post("/predict", content=content, headers={"content-type": "application/json"})
    problem(answer, {"no UTF-8": 400, "nobody": 404}.get(name, answer.status_code))
    assert answer.status_code in (400, 404, 422)


def test_extreme_days_are_scored_or_refused(dated: TestClient) -> None:
    order = {"product_ids": [1082185]}
    for at in ("0001-01-01", "9999-12-31", "9999-12-31T23:59:59Z", "0001-01-01T00:00:00+14:00"):
        body = {"orders": [{**order, "ordered_at": at}]}
        assert dated.post("/predict", json=body).status_code in (200, 422), at
    assert dated.post("/predict", json={"user_id": 1, "as_of": "9999-12-31"}).status_code == 200


def test_a_large_body_is_refused_whether_or_not_its_length_is_told(client: TestClient) -> None:
    large = b" " * (middleware.MOST_BODY_BYTES + 1)
    problem(client.post("/predict", content=large), 413)

    def pieces() -> Iterator[bytes]:
        for _ in range(10):
            yield large[: len(large) // 9]

    problem(client.post("/predict", content=pieces()), 413)


def test_too_many_requests_at_a_time_are_told_to_wait(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(middleware, "MOST_IN_FLIGHT", 0)
    answer = client.get("/health")
    problem(answer, 503, "Try again")
    assert answer.headers["retry-after"] == "1"


def test_a_bug_is_a_problem_and_its_traceback_is_printed(
    client: TestClient, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("ml.serving.index.Index.basket", lambda *_: 1 / 0)
    problem(client.get("/shoppers/1/basket"), 500, "bug")
    assert "ZeroDivisionError" in capfd.readouterr().err


def test_every_request_is_logged_with_its_id_and_counted(
    client: TestClient, capfd: pytest.CaptureFixture[str]
) -> None:
    assert client.get("/health", headers={"x-request-id": "mine-1"}).headers["x-request-id"] == (
        "mine-1"
    )
    made_up = client.get("/shoppers/0/basket", headers={"x-request-id": "a b\x01"})
    logged = [json.loads(line) for line in capfd.readouterr().out.splitlines()]
    assert [line["request_id"] for line in logged] == ["mine-1", made_up.headers["x-request-id"]]
    assert logged[1] | {"time": "", "ms": 0, "request_id": ""} == {
        "time": "",
        "request_id": "",
        "client": "testclient",
        "method": "GET",
        "path": "/shoppers/0/basket",
        "status": 404,
        "ms": 0,
    }
    metrics = client.get("/metrics").text
    assert re.search(
        r'restock_requests_total{method="GET",route="/health",status="200"} \d', metrics
    )
    assert re.search(r"restock_batch_age_seconds \d", metrics)


def test_a_key_is_required_where_one_is_set(published: Place) -> None:
    with serving(published, KEY) as client:
        path = "/shoppers/1/basket"
        for headers in ({}, {"authorization": "Bearer wrong"}, {"authorization": f"Basic {KEY}"}):
            for answer in (
                client.get(path, headers=headers),
                client.get("/metrics", headers=headers),
                client.post("/predict", json={"user_id": 1}, headers=headers),
            ):
                problem(answer, 401, "RESTOCK_API_KEY")
                assert answer.headers["www-authenticate"] == "Bearer"
        good = {"authorization": f"Bearer {KEY}"}
        assert client.get(path, headers=good).status_code == 200
        assert client.get("/health").status_code == client.get("/ready").status_code == 200
        assert "securitySchemes" in client.get("/openapi.json").json()["components"]


def test_without_a_key_none_is_declared(client: TestClient) -> None:
    assert "securitySchemes" not in client.get("/openapi.json").json()["components"]


def test_the_documentation_loads_nothing_from_elsewhere(client: TestClient) -> None:
    page = client.get("/docs").text
    assert "GET /shoppers/{user_id}/basket" in page and "reorder_probability" in page
    assert not re.search(r"<script|<link|//", page.replace("<!doctype", ""))


def test_before_the_first_run_the_server_waits(place: Place, published: Place) -> None:
    with serving(place) as client:
        problem(client.get("/ready"), 503, "Run `restock run`")
        answer = client.post("/predict", json={"user_id": 1})
        problem(answer, 503)
        assert answer.headers["retry-after"] == "5"
        assert client.get("/health").status_code == 200
        replace_link(place.warehouse, published.warehouse.resolve())
        assert eventually(lambda: client.get("/ready").status_code == 200)
        # A rollback to a release from before there was an index.
        replace_link(place.warehouse, place.folder / "old" / "restock.duckdb")
        assert eventually(lambda: client.get("/ready").status_code == 503)


def test_a_release_of_an_earlier_restock_is_not_served_and_the_next_one_is(
    place: Place, published: Place
) -> None:
    """Its index lacks columns. The server must neither stop to follow nor serve another release."""
    shutil.copytree(published.folder, place.folder, dirs_exist_ok=True, symlinks=True)
    shoppers = place.warehouse.resolve().parent / "index" / "shoppers.arrow"
    whole = shoppers.read_bytes()
    older = pa.ipc.open_file(whole).read_all().drop_columns(["first_new", "new_count"])
    shoppers.unlink()
    with pa.ipc.new_file(str(shoppers), older.schema) as writer:
        writer.write_table(older)
    with serving(place) as client:
        problem(client.get("/ready"), 503, "restock run")
        shoppers.unlink()
        shoppers.write_bytes(whole)
        assert eventually(lambda: client.get("/ready").status_code == 200)


def test_a_step_that_writes_the_warehouse_delays_live_scores_only(
    published: Place, place: Place, client: TestClient
) -> None:
    copy = place.folder / "restock.duckdb"
    release = published.warehouse.resolve().parent
    copy.write_bytes(published.warehouse.read_bytes())
    shutil.copytree((release / "index").resolve(), place.folder / "index")
    (place.folder / "restock.duckdb.models").symlink_to(f"{published.warehouse}.models")
    hold = (
        "import duckdb, sys; con = duckdb.connect(sys.argv[1]); print('held', flush=True); input()"
    )
    with (
        serving(place) as own,
        subprocess.Popen(
            [sys.executable, "-c", hold, copy],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        ) as writer,
    ):
        assert writer.stdout and writer.stdout.readline() == b"held\n"
        user_id = client.get("/shoppers/1/basket").json()["user_id"]
        answer = own.post("/predict", json={"user_id": user_id})
        problem(answer, 503, "open in another process")
        assert answer.headers["retry-after"] == "5"
        assert own.get(f"/shoppers/{user_id}/basket").status_code == 200
        writer.communicate(b"\n")
        assert own.post("/predict", json={"user_id": user_id}).status_code == 200


def eventually(is_true: Any, seconds: float = 30) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if is_true():
            return True
        time.sleep(0.05)
    return False


@contextmanager
def process(
    place: Place, command: str = "serve", **variables: str
) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A server in a process of its own, which logs to `server.log`, and its address."""
    # Nobody reads a pipe while the server runs: once it is full, the server would wait.
    with (
        (place.folder / "server.log").open("w") as log,
        subprocess.Popen(
            [str(Path(sys.executable).with_name("restock")), command, "--port", "0"],
            env=place.environment | variables,
            cwd=ROOT,
            stdout=log,
            stderr=subprocess.PIPE,
            text=True,
        ) as server_,
    ):
        try:
            assert server_.stderr
            said = server_.stderr.readline()
            address = re.search(r"http://\S+\d", said)
            assert address, said + server_.stderr.read()
            yield server_, address[0]
        finally:
            server_.kill()


def test_a_server_follows_releases_and_ends_in_good_order(
    published_twice: Place, place: Place
) -> None:
    """Every answer is of one release, whichever is published while it is asked."""
    shutil.copytree(published_twice.folder, place.folder, dirs_exist_ok=True, symlinks=True)
    current = Path(f"{place.warehouse}.current")
    folders = sorted(Path(f"{place.warehouse}.releases").iterdir())
    batches = {
        folder: (batch := Index((folder / "index").resolve()).batches["reorder"]) and batch.batch_id
        for folder in folders
    }
    assert len(set(batches.values())) == 2
    ((user_id,),) = place.query("select min(user_id) from dim_users")
    answers: list[tuple[int, str, str]] = []
    with process(place, RESTOCK_API_KEY=KEY) as (server_, address):
        stop = threading.Event()

        def ask() -> None:
            while not stop.is_set():
                request = urllib.request.Request(
                    f"{address}/shoppers/{user_id}/basket",
                    headers={"authorization": f"Bearer {KEY}"},
                )
                with urllib.request.urlopen(request) as answer:
                    batch = json.load(answer)["batch_id"]
                    answers.append((answer.status, batch, answer.headers["etag"]))

        asking = threading.Thread(target=ask)
        asking.start()
        for folder in [*folders, *folders]:
            replace_link(current, folder)
            assert eventually(lambda: answers and answers[-1][1] == batches[folder])  # noqa: B023
        stop.set()
        asking.join()
        server_.send_signal(signal.SIGTERM)
        _, err = server_.communicate(timeout=30)
    assert server_.returncode == 0, err
    assert all(status == 200 and etag == f'"{batch}"' for status, batch, etag in answers)
    logged = [json.loads(line) for line in (place.folder / "server.log").read_text().splitlines()]
    assert len(logged) == len(answers) and all(line["request_id"] for line in logged)


def test_other_machines_are_let_in_only_with_a_key(
    published: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = Settings.load(warehouse=published.warehouse)
    for host in ("0.0.0.0", "::", "192.0.2.1", "shop.example"):
        with pytest.raises(SettingsError, match="Set RESTOCK_API_KEY"):
            server.serve(settings, host=host, port=0)
    with pytest.raises(SettingsError, match="--port"):
        server.serve(replace(settings, api_key=KEY), host="192.0.2.1", port=0)
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    with pytest.raises(SettingsError, match=r"pip install 'restock\[serve\]'"):
        server.serve(settings, host="127.0.0.1", port=0)


@pytest.mark.parametrize("key", ["", KEY], ids=["without a key", "with a key"])
def test_answers_are_as_described(published: Place, key: str) -> None:
    """Schemathesis calls every operation with values that the OpenAPI document allows, and not."""
    app = create(replace(Settings.load(warehouse=published.warehouse), api_key=key))
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    with TestClient(app, raise_server_exceptions=False):
        for found in schemathesis.openapi.from_asgi("/openapi.json", app).get_all_operations():
            operation: Any = found.ok()  # type: ignore[union-attr]
            modes = [schemathesis.GenerationMode.POSITIVE]
            if operation.body or list(operation.iter_parameters()):
                modes.append(schemathesis.GenerationMode.NEGATIVE)
            for mode in modes:
                call(operation.as_strategy(mode), headers)


def call(strategy: Any, headers: dict[str, str]) -> None:
    """Call an operation some times, and check each answer."""
    # A document that follows the schema can bring orders that this shop cannot have.
    excluded = [schemathesis.checks.CHECKS.get_one("positive_data_acceptance")]

    @hypothesis.given(strategy)
    @hypothesis.settings(
        max_examples=5,
        deadline=None,
        database=None,
        derandomize=True,
        suppress_health_check=list(hypothesis.HealthCheck),
    )
    def calls(case: Any) -> None:
        case.call_and_validate(headers=headers, excluded_checks=excluded)

    calls()
