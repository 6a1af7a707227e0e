"""Documents in Redis and PostgreSQL, on real servers: whole batches, interruptions, refusals."""

import json
import multiprocessing
import os
import shutil
import signal
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import duckdb
import psycopg
import pytest
import redis
import servers
from conftest import Place
from fastapi.testclient import TestClient

from ml.errors import BusyError, RestockError, SettingsError
from ml.jobs import publish as job
from ml.serving import index
from ml.serving.api import create
from ml.settings import Settings

pytestmark = pytest.mark.slow

Read = Callable[[], dict[str, str]]


@dataclass(frozen=True)
class Server:
    """A server to publish to.

    Attributes:
        address: with the password.
        reading: returns a function that reads everything readers see, in one round trip.
        stored: returns how many documents of each batch there are, seen or not.
        client: runs a command of the server.
    """

    address: str
    reading: Callable[[], Any]
    stored: Callable[[], dict[str, int]]
    client: Callable[..., Any]

    @property
    def place(self) -> str:
        scheme, _, rest = self.address.partition("://")
        return f"{scheme}://{rest.rpartition('@')[2]}"

    def read(self) -> dict[str, str]:
        with self.reading() as read:
            return read()


@pytest.fixture(scope="module")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with servers.running_redis(tmp_path_factory.mktemp("redis")) as address:
        yield address


@pytest.fixture(scope="module")
def postgres_server() -> Iterator[str]:
    with servers.running_postgres() as address:
        yield address


def of_redis(address: str) -> Server:
    client: Any = redis.Redis.from_url(address, decode_responses=True)
    client.flushall()

    @contextmanager
    def reading() -> Iterator[Read]:
        def read() -> dict[str, str]:
            found = client.hgetall("restock:current")
            found.pop("batch", None)
            return found

        yield read

    def stored() -> dict[str, int]:
        keys = client.keys("restock:*")
        return {client.hget(key, "batch"): client.hlen(key) - 1 for key in keys}

    return Server(f"{address}/0", reading, stored, client.execute_command)


def of_postgres(address: str) -> Server:
    def client(query: str) -> Any:
        with psycopg.connect(address) as connection:
            found = connection.execute(query)
            return found.fetchall() if found.description else None

    client("drop schema if exists restock cascade")

    @contextmanager
    def reading() -> Iterator[Read]:
        with psycopg.connect(address, autocommit=True) as connection:
            query = "select kind || ':' || id, document::text from restock.documents"
            yield lambda: dict(connection.execute(query).fetchall())

    def stored() -> dict[str, int]:
        return dict(client("select batch, count(*) from restock.batches group by batch"))

    return Server(address, reading, stored, client)


@pytest.fixture(params=["redis", "postgres"])
def server(request: pytest.FixtureRequest) -> Server:
    """An empty database on each server."""
    of = {"redis": of_redis, "postgres": of_postgres}[request.param]
    return of(request.getfixturevalue(f"{request.param}_server"))


Shop = Callable[..., Settings]


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shop:
    """Return a function that makes a release with three products for each shopper."""
    monkeypatch.setenv("RESTOCK_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(job, "TOGETHER", 7)

    def make(batch: str, shoppers: int = 60, id: str = "{}") -> Settings:
        release = tmp_path / batch
        if not release.exists():
            release.mkdir()
            tables(release / "restock.duckdb", batch, shoppers, f"format('{id}', i)")
            index.write(Settings.load(warehouse=release / "restock.duckdb"), lambda *_: None)
        return Settings.load(warehouse=release / "restock.duckdb")

    return make


def tables(warehouse: Path, batch: str, shoppers: int, id: str) -> None:
    """Write the tables that an index is made of."""
    windows = "timestamp '2024-03-04' as cutoff_at, timestamp '2024-03-05' as window_end_at"
    everyone = f"from range({shoppers}) as numbers (i)"
    pairs = f"from range({shoppers}) as numbers (i) cross join range(3) as ranks (r)"
    created = {
        "fct_predictions": f"{id} as user_id, i + r as product_id, 0.5::float / (i + r + 1) as "
        f"reorder_probability, r + 1 as rank_in_user, r = 0 as in_basket {pairs}",
        "pair_reasons": f"{id} as user_id, i + r as product_id, r + 1 as rank_in_user, "
        f"'due: every ' || r || ' days' as reason {pairs} where r < 2",
        "fct_discoveries": f"{id} as user_id, i + 3 as product_id, 0.1::float as "
        f"purchase_probability, 1 as rank_in_user {everyone} where i > 4",
        "fct_purchase_propensity": f"{id} as user_id, {windows}, 0.25::float as "
        "purchase_probability, i + 1 as rank, 1 as decile, true as is_targeted, "
        f"false as is_held_out {everyone}",
        "fct_weekly_propensity": "* from fct_purchase_propensity where rank <> 2",
        "dim_products": "i as product_id, 'Gruyère, \"' || i || chr(92) || chr(10) as product_name "
        f"from range({shoppers} + 5) as numbers (i)",
        "fct_expected_shoppers": "product_id, 0.5::double as expected_shoppers, 3 as shopper_count,"
        " 1 as basket_count from dim_products where product_id < 4",
        "fct_demand": f"product_id, 'product' as level, {windows}, 7.25::double as expected_units, "
        "null::double as low_units, 9.5::double as high_units from dim_products limit 5",
    }
    with duckdb.connect(str(warehouse)) as con:
        con.execute("create schema ml")
        for table, query in created.items():
            con.execute(f"create table {table} as select {query}")
        for task in ("", "purchase_", "purchase_week_"):
            con.execute(
                f"create table ml.{task}batches as select '{task}{batch}' as batch_id, 'v1' as "
                "model_version, timestamp '2024-03-04 05:06:07' as finished_at"
            )
            con.execute(
                f"create table ml.{task}predictions as select batch_id from ml.{task}batches"
            )


def publish(settings: Settings, server: Server) -> dict[str, Any]:
    return job.publish(replace(settings, publish_to=server.address), lambda *_: None)


def name(batch: str) -> str:
    return f"{batch}.purchase_{batch}.purchase_week_{batch}"


def whole(shoppers: int) -> int:
    return shoppers + shoppers + 5


def counted(documents: dict[str, str]) -> dict[str, int]:
    """Return how many documents there are of each batch."""
    return dict(Counter(json.loads(text)["batch_id"] for text in documents.values()))


# --- what is published ----------------------------------------------------------------------------


@pytest.mark.parametrize("id", ["{}", "a:é ''%/\\{}"], ids=["numbers", "text"])
def test_documents_are_the_answers_of_the_api(id: str, server: Server, shop: Shop) -> None:
    settings = shop("one", id=id)
    assert publish(settings, server)["rows"] == whole(60)
    documents = {key: json.loads(text) for key, text in server.read().items()}
    answers: dict[str, Any] = {}
    with TestClient(create(settings)) as client:
        for i in range(60):
            user_id = id.replace("''", "'").format(i)
            path = f"/shoppers/{user_id.replace('%', '%25')}"
            answers[f"shopper:{user_id}"] = (
                client.get(f"{path}/predictions?limit=1000").json()
                | client.get(f"{path}/discoveries").json()
                | client.get(f"{path}/propensity").json()
            )
        for i in range(65):
            answers[f"product:{i}"] = client.get(f"/products/{i}/demand").json()
    assert documents == answers
    without = [key for key, answer in answers.items() if answer.get("purchase_week", 0) is None]
    assert len(without) == 1
    assert answers["product:2"]["week"]["expected_units"] == 7.25


def test_a_rollback_is_published(
    server: Server, place: Place, published_twice: Place, published: Place
) -> None:
    """Through the command line, which prints no password."""
    shutil.copytree(published_twice.folder, place.folder, dirs_exist_ok=True, symlinks=True)
    batch = "select distinct batch_id from fct_predictions"
    before, after = (found.query(batch)[0][0] for found in (published, place))
    done = place.call("restock", "publish", RESTOCK_PUBLISH_TO=server.address)
    assert done.returncode == 0, done.stderr
    said = done.stdout + done.stderr
    assert server.place in said and after in said and "s3cr3t" not in said
    documents = server.read()
    ((rows,),) = place.query(
        "select (select count(*) from dim_users) + (select count(*) from dim_products)"
    )
    assert counted(documents) == {after: rows}
    place.restock("rollback")
    assert place.restock("publish", "--to", server.address)["publish"]["rows"] == rows
    assert set(counted(server.read())) == {before}
    refused = place.call("restock", "publish", "--to", server.address.replace("s3cr3t", "wrong"))
    assert refused.returncode == 2 and server.place in refused.stderr
    assert "%40w" not in refused.stdout + refused.stderr and "Traceback" not in refused.stderr


# --- whole batches --------------------------------------------------------------------------------


def test_a_reader_sees_whole_batches_only(server: Server, shop: Shop) -> None:
    sizes = {f"b{n}": 20 + n for n in range(11)}
    publish(shop("b0", 20), server)
    seen: list[dict[str, int]] = []
    ended = threading.Event()

    def poll() -> None:
        with server.reading() as read:
            while not ended.is_set():
                seen.append(counted(read()))

    reader = threading.Thread(target=poll)
    reader.start()
    for batch, shoppers in sizes.items():
        settings = shop(batch, shoppers)
        publish(settings, server)
        at = len(seen)
        while len(seen) < at + 2:  # one read began after the switch
            assert reader.is_alive()
    ended.set()
    reader.join()
    assert [one for one in seen if one not in ({b: whole(n)} for b, n in sizes.items())] == []
    assert [*dict.fromkeys(batch for one in seen for batch in one)] == [*sizes]


def test_old_batches_are_removed_and_the_one_before_is_kept(server: Server, shop: Shop) -> None:
    for batch in ("one", "two", "three"):
        assert publish(shop(batch), server)["is_new"]
    kept = {name("two"): whole(60), name("three"): whole(60)}
    assert server.stored() == kept
    wrote: list[int] = []
    settings = replace(shop("two"), publish_to=server.address)
    job.publish(settings, lambda _, done, __: wrote.append(done))
    assert not wrote and server.stored() == kept
    assert counted(server.read()) == {"two": whole(60)}
    assert not publish(shop("two"), server)["is_new"]


def publish_and_die(settings: Settings, seconds: float) -> None:
    """Publish, and die after 50 documents, or after some seconds wherever that is."""
    job.TOGETHER = 1

    def die(what: str, done: int, total: int) -> None:
        if not seconds and done == 50:
            os.kill(os.getpid(), signal.SIGKILL)

    if seconds:
        timer = threading.Timer(seconds, os.kill, (os.getpid(), signal.SIGKILL))
        timer.daemon = True
        timer.start()
    job.publish(settings, die)


def test_a_publish_that_is_killed_at_any_moment_goes_on(server: Server, shop: Shop) -> None:
    publish(shop("old", 20), server)
    settings = replace(shop("new", 200), publish_to=server.address)
    written: list[int] = []
    for seconds in (0, *(0.02 * 1.5**n for n in range(20))):
        # Forked, because an import of the libraries takes longer than a publish.
        child = multiprocessing.get_context("fork").Process(
            target=publish_and_die, args=(settings, seconds)
        )
        child.start()
        child.join()
        if child.exitcode == 0:
            break
        assert child.exitcode == -signal.SIGKILL
        assert counted(server.read()) == {"old": whole(20)}
        written.append(server.stored()[name("new")])
    assert counted(server.read()) == {"new": whole(200)}
    assert written[0] == 50 and written == sorted(written)
    assert server.stored() == {name("old"): whole(20), name("new"): whole(200)}


def test_a_batch_that_was_never_finished_makes_way_for_another(server: Server, shop: Shop) -> None:
    def stop(what: str, done: int, total: int) -> None:
        if done > 50:
            raise RestockError("stop")

    publish(shop("one"), server)
    with pytest.raises(RestockError, match="stop"):
        job.publish(replace(shop("two"), publish_to=server.address), stop)
    assert 0 < server.stored()[name("two")] < whole(60)
    publish(shop("three"), server)
    assert server.stored() == {name("one"): whole(60), name("three"): whole(60)}
    assert counted(server.read()) == {"three": whole(60)}


def test_two_at_a_time_never_mix_batches(server: Server, shop: Shop) -> None:
    """The second is refused, or makes the first one stop; readers have a whole batch."""
    publish(shop("old"), server)
    one, other = (replace(shop(name), publish_to=server.address) for name in ("one", "other"))
    refused: list[BusyError] = []

    def meanwhile(what: str, done: int, total: int) -> None:
        if done == 70:
            try:
                job.publish(other, lambda *_: None)
            except BusyError as error:
                refused.append(error)

    try:
        job.publish(one, meanwhile)
    except BusyError as error:
        refused.append(error)
    assert len(refused) == 1 and "another `restock publish`" in str(refused[0])
    assert refused[0].exit_code == 4
    (seen,) = counted(server.read()).items()
    assert seen in (("one", whole(60)), ("other", whole(60)))


# --- refusals -------------------------------------------------------------------------------------


def says(settings: Settings, address: str) -> RestockError:
    """Publish, and return the error, which must not have the password."""
    with pytest.raises(RestockError) as caught:
        job.publish(replace(settings, publish_to=address), lambda *_: None)
    assert "s3cr3t" not in str(caught.value)
    return caught.value


@pytest.mark.parametrize(
    "address",
    [
        "redis://:s3cr3t@127.0.0.1:1/0",
        "postgresql://shop:s3cr3t@127.0.0.1:1/shop",
    ],
)
def test_a_server_that_does_not_answer_is_told(address: str, shop: Shop) -> None:
    error = says(shop("one", 3), address)
    assert error.exit_code == 1 and "127.0.0.1:1" in str(error)
    assert "no server answers" in str(error) and "run the same command again" in str(error)


@pytest.mark.parametrize(
    ("address", "told"),
    [
        ("", "--to or RESTOCK_PUBLISH_TO"),
        ("mongodb://host/shop", "redis://USER"),
        ("host", "redis://USER"),
        ("redis://:s3cr3t/x@host/0", "as in %40"),
        ("redis://:s3cr3t#x@host/0", "as in %40"),
        ("redis://a:s3cr3t:x@host/0", "as in %40"),
        ("redis://:s3cr3t@host:port/0", "Check the host, port"),
        ("postgresql://a:s3cr3t%zz@host/shop", "Check the host, port"),
        ("postgresql://a:s3cr3t@host/shop?mode=fast", "Check the host, port"),
    ],
)
def test_an_invalid_address_is_refused(address: str, told: str, shop: Shop) -> None:
    error = says(shop("one", 3), address)
    assert error.exit_code == 2 and told in str(error)


def test_a_wrong_password_is_told(server: Server, shop: Shop) -> None:
    error = says(shop("one", 3), server.address.replace(servers.ENCODED, "s3cr3t-wrong"))
    assert isinstance(error, SettingsError) and server.place in str(error)
    assert "the server says" in str(error)


def test_a_database_that_is_not_there_is_told(postgres_server: str, shop: Shop) -> None:
    error = says(shop("one", 3), f"{postgres_server}-of-horrors")
    assert isinstance(error, SettingsError) and '"shop-of-horrors" does not exist' in str(error)


def test_a_user_without_rights_is_told(server: Server, shop: Shop) -> None:
    if server.address.startswith("redis"):
        server.client("ACL", "SETUSER", "reader", "on", f">{servers.PASSWORD}", "~*", "+@read")
        address = server.address.replace("//:", "//reader:")
    else:
        server.client("drop role if exists reader")
        server.client(f"create role reader login password '{servers.PASSWORD}'")
        address = server.address.replace("//shop:", "//reader:")
    error = says(shop("one", 3), address)
    assert isinstance(error, SettingsError) and "give the user the right" in str(error)


def test_what_restock_did_not_create_is_refused(server: Server, shop: Shop) -> None:
    if server.address.startswith("redis"):
        server.client("SET", "restock:other", "mine")
        mine = ["GET", "restock:other"]
    else:
        server.client("create schema restock")
        server.client("create table restock.batches as select 'mine' as mine")
        mine = ["select * from restock.batches"]
    before = server.client(*mine)
    error = says(shop("one", 3), server.address)
    assert isinstance(error, SettingsError) and "Refusing to overwrite" in str(error)
    assert server.client(*mine) == before


def test_a_full_server_is_told_and_readers_keep_the_batch(redis_server: str, shop: Shop) -> None:
    server = of_redis(redis_server)
    publish(shop("old"), server)
    with closing(redis.Redis.from_url(redis_server)) as client, ExitStack() as after:
        after.callback(client.config_set, "maxmemory", 0)
        client.config_set("maxmemory", 1)
        error = says(shop("new"), server.address)
    assert error.exit_code == 1 and "used memory > 'maxmemory'" in str(error)
    assert counted(server.read()) == {"old": whole(60)}


def test_a_lost_connection_is_taken_up_again(server: Server, shop: Shop) -> None:
    """By the client library of Redis itself, and by the next publish to PostgreSQL."""
    publish(shop("old"), server)
    settings = replace(shop("new"), publish_to=server.address)

    def lose(what: str, done: int, total: int) -> None:
        if done == 70 and server.address.startswith("redis"):
            assert server.client("CLIENT", "KILL", "TYPE", "normal")
        elif done == 70:
            server.client(
                "select pg_terminate_backend(pid) from pg_stat_activity "
                "where application_name = 'restock'"
            )

    if server.address.startswith("redis"):
        job.publish(settings, lose)
    else:
        with pytest.raises(RestockError, match="the connection was lost") as caught:
            job.publish(settings, lose)
        assert caught.value.exit_code == 1 and server.stored()[name("new")] == 70
        publish(settings, server)
    assert counted(server.read()) == {"new": whole(60)}


@pytest.mark.parametrize(
    ("module", "address", "extra"),
    [("redis", "redis://host/0", "redis"), ("psycopg", "postgresql://host/shop", "postgres")],
)
def test_a_missing_package_is_told(
    module: str, address: str, extra: str, shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = shop("one", 3)
    for name in (module, f"ml.serving.{extra}_store"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.setitem(sys.modules, module, None)
    assert f"restock[{extra}]" in str(says(settings, address))


def test_nothing_published_is_told(tmp_path: Path) -> None:
    settings = Settings.load(warehouse=tmp_path / "restock.duckdb")
    assert "Run `restock run`" in str(says(settings, "redis://host/0"))


def test_an_address_is_no_part_of_the_settings_in_words() -> None:
    settings = Settings.load(publish_to="redis://:s3cr3t@host/0")
    assert "s3cr3t" not in repr(settings)
