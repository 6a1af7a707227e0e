"""Order logs in MongoDB, and a list that goes back, with PyMongo against a stand-in.

SecantusDB speaks MongoDB's protocol in this process. It proves nothing about clusters, TLS or load.
"""

import os
import shutil
import threading
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import shops
from bson import Binary, Decimal128, Int64, ObjectId
from conftest import ROOT, Place
from pymongo import MongoClient
from pymongo.database import Database as Server
from pymongo.errors import OperationFailure
from secantus import SecantusDBServer

from ml.errors import RestockError, SettingsError
from ml.jobs import sink
from ml.mongodb import Database
from ml.settings import Settings
from ml.sources import Intake, SourceError, landed_events, mongo, take_in

pytestmark = pytest.mark.slow

PASSWORD = "s3cr3t@w/rd"
AT = datetime(2024, 3, 4, 10, 30)


@pytest.fixture(scope="module")
def secantus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SecantusDBServer]:
    with SecantusDBServer(storage_path=str(tmp_path_factory.mktemp("mongo"))) as server:
        yield server


@pytest.fixture
def shop(secantus: SecantusDBServer) -> Iterator[Server[dict[str, Any]]]:
    """An empty database of its own for each test."""
    with MongoClient[dict[str, Any]](secantus.uri) as client:
        yield client[f"shop_{uuid.uuid4().hex[:8]}"]


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The host of a server that wants a password, with a database `shop` for a reader."""
    folder = str(tmp_path_factory.mktemp("guarded"))
    with SecantusDBServer(storage_path=folder) as server:
        client = MongoClient[dict[str, Any]](server.uri)
        client.shop.order_lines.insert_many(map(line, range(20)))
        client.shop.command("createUser", "reader", pwd=PASSWORD, roles=["read"])
        client.shop.command("createUser", "nobody", pwd=PASSWORD, roles=[])
        client.close()
    with SecantusDBServer(storage_path=folder, require_auth=True) as server:
        yield "{}:{}".format(*server.address)


def address(shop: Server[dict[str, Any]]) -> str:
    host, port = shop.client.address or ("", 0)
    return f"mongodb://{host}:{port}/{shop.name}"


def line(number: int, **values: Any) -> dict[str, Any]:
    """Return an order line."""
    at = AT + timedelta(days=number % 100)
    return {
        "user_id": 1 + number % 3,
        "order_id": number,
        "ordered_at": at,
        "product_id": 7,
    } | values


def at_id(at: datetime, number: int = 0) -> ObjectId:
    """Return an id that was made at a time."""
    return ObjectId(ObjectId.from_datetime(at).binary[:4] + number.to_bytes(8, "big"))


Fetch = Callable[..., Settings]


@pytest.fixture
def settings(
    shop: Server[dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Fetch:
    """Return a function that loads the settings of a workspace, with a restock.toml."""
    for name in os.environ:
        if name.startswith("RESTOCK_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("RESTOCK_HOME", str(tmp_path))

    def load(toml: str = "", **flags: str) -> Settings:
        (tmp_path / "restock.toml").write_text(toml)
        return Settings.load(**({"raw_dir": address(shop)} | flags))

    return load


def landed(settings: Settings, table: str = "order_lines") -> list[dict[str, Any]]:
    if table == "events":
        rows = f"select * from ({landed_events(settings.landing)}) order by event_id"
        with duckdb.connect() as con:
            return con.sql(rows).to_arrow_table().to_pylist()
    return pq.read_table(settings.landing / f"{table}.parquet").to_pylist()


def fetched(settings: Settings, table: str) -> pa.Table:
    return pq.read_table(settings.raw_dir / f"{table}.parquet")


def said(settings: Settings) -> list[str]:
    """Fetch, and return what was told about the documents that the server sent."""
    told: list[str] = []
    assert settings.database
    mongo.fetch(
        settings.database, settings.raw_dir, settings.reading, lambda what, *_: told.append(what)
    )
    return told


# --- values ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("7", "7"),
        ("", None),
        (None, None),
        (7, "7"),
        (Int64(2**53 + 1), "9007199254740993"),
        (7.0, "7"),
        (-0.0, "0"),
        (1e16, "1e+16"),
        (12.5, "12.5"),
        (True, "true"),
        (Decimal128("12.50"), "12.50"),
        (Decimal128("1E+3"), "1000"),
        (datetime(2024, 3, 4, 10, 30), "2024-03-04T10:30:00Z"),
        (datetime(2024, 3, 4, 10, 30, 0, 5000), "2024-03-04T10:30:00.005000Z"),
        (datetime(2024, 3, 4, 10, 30, tzinfo=UTC), "2024-03-04T10:30:00Z"),
        (ObjectId("65e5a1c00000000000000001"), "65e5a1c00000000000000001"),
        (uuid.UUID(int=7), "00000000-0000-0000-0000-000000000007"),
    ],
    ids=repr,
)
def test_a_value_becomes_text(
    value: Any, text: str | None, shop: Server[dict[str, Any]], tmp_path: Path, settings: Fetch
) -> None:
    if isinstance(value, uuid.UUID):
        value = Binary.from_uuid(value)
    shop.events.insert_one({"user_id": "a", "occurred_at": AT, "event_type": "view"})
    shop.events.insert_one({"user_id": "b", "occurred_at": AT, "event_type": "x", "value": value})
    said(found := settings())
    table = fetched(found, "events")
    if text is None:
        assert "value" not in table.column_names
    else:
        assert table["value"].to_pylist() == [None, text]


def test_fields_may_be_nested_and_have_other_names(
    shop: Server[dict[str, Any]], settings: Fetch
) -> None:
    shop.logs.insert_many(
        [
            {"who": {"id": 1}, "ts": 1_709_548_200_000, "screen": {"name": "cart", "x": [1]}},
            {"who": {"id": 2}, "ts": 1_709_548_260_000.0, "screen": {"name": "view"}, "sku": {}},
            {"who": {"id": 2}, "ts": 1_709_548_260_000, "screen": {"name": "view"}, "sku": "home"},
            {
                "who": {"id": 3},
                "ts": "1709548200000",
                "screen": {"name": "purchase"},
                "sku": {"id": "a'b"},
            },
        ]
    )
    found = settings(
        """
        [reading]
        events = "logs"
        [events]
        user_id = "who.id"
        occurred_at = {name = "ts", format = "epoch_ms"}
        event_type = "screen.name"
        product_id = "sku.id"
        event_id = "_id"
        """
    )
    assert not [note for note in take_in(found).notes if "Ignored" in note]
    rows = landed(found, "events")
    assert [(row["user_id"], row["event_type"], row["product_id"]) for row in rows] == [
        (1, "cart", None),
        (2, "view", None),
        (2, "view", None),
        (3, "purchase", "a'b"),
    ]
    assert rows[0]["occurred_at"] == datetime(2024, 3, 4, 10, 30)
    assert [row["event_id"] for row in rows] == [str(d["_id"]) for d in shop.logs.find()]


def test_only_mapped_fields_are_asked_for(shop: Server[dict[str, Any]], settings: Fetch) -> None:
    shop.order_lines.insert_many([line(n, secret="x", quantity=None) for n in range(3)])
    found = settings()
    take_in(found)
    names = ["_id", "user_id", "order_id", "ordered_at", "product_id"]
    assert fetched(found, "order_lines").column_names == names
    assert all(row["quantity"] is None for row in landed(found))


def test_a_view_unwinds_an_array(shop: Server[dict[str, Any]], settings: Fetch) -> None:
    bought = [{"sku": "a"}, {"sku": "b"}]
    shop.orders.insert_many(
        [{"user_id": 1, "ordered_at": AT + timedelta(n), "items": bought} for n in range(3)]
    )
    shop.command("create", "order_lines", viewOn="orders", pipeline=[{"$unwind": "$items"}])
    take_in(found := settings('[columns]\norder_id = "_id"\nproduct_id = "items.sku"'))
    assert [row["product_id"] for row in landed(found)] == ["a", "b"] * 3
    shop.orders.insert_one({"user_id": 1, "ordered_at": AT + timedelta(3), "items": bought})
    assert take_in(found).files[0].rows == 8


def test_types_of_events_come_from_a_collection_or_a_file(
    shop: Server[dict[str, Any]], settings: Fetch
) -> None:
    shop.order_lines.insert_many([line(n) for n in range(3)])
    shop.events.insert_many(
        {"user_id": 1, "occurred_at": AT + timedelta(hours=n), "event_type": "look"}
        for n in range(3)
    )
    found = settings()
    with pytest.raises(SourceError, match=f"^collection events, .*csv .* to {found.raw_dir}, "):
        take_in(found)
    shop.event_types.insert_one({"event_name": "look", "event_type": "view"})
    take_in(found)
    assert {row["event_type"] for row in landed(found, "events")} == {"view"}
    shop.event_types.drop()
    (found.raw_dir / "event_types.csv").write_text("event_name,event_type\nlook,cart\n")
    take_in(found)
    assert {row["event_type"] for row in landed(found, "events")} == {"cart"}


def test_names_of_products_come_from_the_products(
    shop: Server[dict[str, Any]], settings: Fetch
) -> None:
    shop.order_lines.insert_many([line(n, product_name="of the line") for n in range(3)])
    take_in(found := settings())
    assert landed(found, "products")[0]["product_name"] == "of the line"
    shop.products.insert_one({"product_id": 7, "product_name": "of the catalogue"})
    take_in(found)
    assert landed(found, "products")[0]["product_name"] == "of the catalogue"
    shop.products.drop()
    take_in(found)
    assert landed(found, "products")[0]["product_name"] == "of the line"


def test_equals_files_with_the_same_data(
    shop: Server[dict[str, Any]], settings: Fetch, tmp_path: Path
) -> None:
    """The landed rows are the same, so everything that is built from them is."""
    lines = shops.small(30)
    columns = dict(zip(mongo._TABLES["order_lines"][0], zip(*lines, strict=True), strict=True))
    documents = [dict(zip(columns, values, strict=True)) for values in lines]
    products = [{"product_id": n, "product_name": f"product {n}"} for n in range(1, 41)]
    shop.order_lines.insert_many(documents)
    shop.products.insert_many(products)
    from_mongo = take_in(settings())

    files = tmp_path / "files"
    files.mkdir()
    table = pa.table(columns)
    table = table.set_column(2, "ordered_at", table["ordered_at"].cast(pa.timestamp("us", "UTC")))
    pq.write_table(table, files / "order_lines.parquet")
    for product in products:
        product.pop("_id")
    pq.write_table(pa.Table.from_pylist(products), files / "products.parquet")
    from_files = take_in(settings(raw_dir=str(files), source="order_log"))

    assert sum(file.rows for file in from_mongo.files) == len(lines) + len(products)

    def same(intake: Intake) -> tuple[Any, ...]:
        return intake.fingerprint, intake.files, intake.notes

    assert same(from_mongo) == same(from_files)


# --- what is wrong --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"ordered_at": "yesterday"}, 'field ordered_at: "yesterday" is not a date or time'),
        ({"ordered_at": "03/04/2024"}, "field ordered_at: .* has two meanings"),
        ({"ordered_at": None}, "field ordered_at: an empty value is not a date or time"),
        ({"user_id": " a"}, 'field user_id: " a" starts or ends with a blank'),
        ({"user_id": ""}, "field user_id: an empty value is not"),
        ({"product_id": ["a", "b"]}, "field product_id: the value is an array"),
        ({"product_id": {"sku": {"id": 1}}}, 'field product_id: .* object. .*"product_id.sku.id"'),
        ({"product_id": b"a"}, "field product_id: the type bytes is not supported"),
        ({"quantity": "two"}, 'field quantity: "two" is not a number'),
        ({"ordered_at": datetime(2099, 1, 1)}, "field ordered_at: .*2099.* is ahead of today"),
    ],
    ids=repr,
)
def test_a_wrong_value_names_collection_document_and_field(
    wrong: dict[str, Any], says: str, shop: Server[dict[str, Any]], settings: Fetch
) -> None:
    lines = [line(n, _id=at_id(AT + timedelta(days=n))) for n in range(9)]
    bad = lines[5]["_id"]
    shop.order_lines.insert_many([*lines[:5], lines[5] | wrong, *lines[6:]])
    with pytest.raises(SourceError, match=f"^collection order_lines, _id {bad}, {says}") as caught:
        take_in(settings())
    assert "file" not in str(caught.value)
    # The corrected document is read, however old it is.
    shop.order_lines.replace_one({"_id": bad}, lines[5])
    assert take_in(settings()).files[0].rows == 9


def test_a_wrong_value_of_a_mapped_field_is_named(
    shop: Server[dict[str, Any]], settings: Fetch
) -> None:
    shop.logs.insert_one({"_id": 4, "user_id": 1, "at": {"t": "2024-03-04"}, "event_type": "view"})
    toml = '[reading]\nevents = "logs"\n[events]\noccurred_at = "at.t"'
    with pytest.raises(SourceError, match=r"collection logs, _id 4, field at.t \(occurred_at\): "):
        take_in(settings(toml))


def test_a_missing_field_is_told_with_those_that_are_there(
    shop: Server[dict[str, Any]], settings: Fetch
) -> None:
    shop.order_lines.insert_one({"uid": 1, "order": {"id": 1, "at": AT}, "sku": 3})
    with pytest.raises(SourceError, match="field user_id: no document has this field") as caught:
        take_in(settings())
    assert "_id, uid, order.id, order.at, sku" in str(caught.value)
    toml = """
        [columns]
        user_id = "uid"
        order_id = "order.id"
        ordered_at = "order.at"
        product_id = "sku"
        """
    assert take_in(settings(toml)).files[0].rows == 1


@pytest.mark.parametrize(
    ("toml", "says"),
    [
        ("", "no collection order_lines or events; found clicks, products"),
        ('[reading]\nevents = "logs"', "no collection order_lines or logs; found"),
        ('[reading]\nevents = "clicks"\nproducts = "goods"', "no collection goods; found"),
    ],
)
def test_an_unknown_collection_is_told_with_those_that_are_there(
    toml: str, says: str, shop: Server[dict[str, Any]], settings: Fetch
) -> None:
    shop.clicks.insert_one({})
    shop.products.insert_one({})
    with pytest.raises(SourceError, match=says):
        take_in(settings(toml))


def test_an_unknown_database_has_no_collections(settings: Fetch) -> None:
    with pytest.raises(SourceError, match=r"found no collections\. Check the name of the database"):
        take_in(settings())


def test_a_collection_without_documents_is_none(
    shop: Server[dict[str, Any]], settings: Fetch
) -> None:
    shop.create_collection("order_lines")
    shop.create_collection("events")
    with pytest.raises(SourceError, match="no documents of orders or events"):
        take_in(settings())
    shop.order_lines.insert_one(line(1))
    assert [file.table for file in take_in(settings()).files] == ["order_lines"]


# --- streaming ------------------------------------------------------------------------------------


def event(number: int, id_: Any = None) -> dict[str, Any]:
    at = AT + timedelta(minutes=number)
    values = {"user_id": number % 100, "occurred_at": at, "event_type": "view", "value": number}
    return values if id_ is None else {"_id": id_, **values}


def test_documents_are_streamed_and_then_only_the_new_ones(
    shop: Server[dict[str, Any]], settings: Fetch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mongo, "_BATCH", 3_000)
    monkeypatch.setattr(mongo, "_ROWS", 7_000)
    # Ids of one second each, for two hours and some, and then of three hours more.
    old, new = (
        [event(n, at_id(AT + timedelta(seconds=n), n)) for n in numbers]
        for numbers in (range(20_000), range(20_000, 20_010))
    )
    shop.events.insert_many(old)
    found = settings()
    assert [text for text in said(found) if "20,000 documents" in text]
    first = fetched(found, "events")
    assert first["value"].to_pylist() == [str(n) for n in range(20_000)]

    late = event(99_999, at_id(AT + timedelta(seconds=18_000), 99_999))  # inserted late
    shop.events.insert_many([*new, late])
    hour = 3_600 + 1
    assert f"fetching events: {hour + 11:,} documents" in said(found)
    second = fetched(found, "events")
    assert second.num_rows == 20_011 and len(set(second["_id"].to_pylist())) == 20_011
    shutil.rmtree(found.raw_dir)
    said(found)
    assert fetched(found, "events").equals(second)


def test_an_id_of_a_clock_that_is_ahead_hides_no_new_documents(
    shop: Server[dict[str, Any]], settings: Fetch
) -> None:
    now = datetime.now(UTC).replace(tzinfo=None)
    shop.events.insert_many([event(1), event(2, at_id(now + timedelta(days=400)))])
    said(found := settings())
    shop.events.insert_one(event(3))
    said(found)
    assert sorted(fetched(found, "events")["value"].to_pylist()) == ["1", "2", "3"]


@pytest.mark.parametrize("change", ["ids", "field", "table"])
def test_everything_is_fetched_again_where_new_documents_are_not_all(
    change: str, shop: Server[dict[str, Any]], settings: Fetch
) -> None:
    """If ids are not in order of time, another field is mapped, or for products."""
    ids = range(40) if change == "ids" else [at_id(AT + timedelta(hours=n)) for n in range(40)]
    shop.order_lines.insert_many([line(n, _id=id_, price="1.5") for n, id_ in enumerate(ids)])
    shop.products.insert_many([{"_id": id_, "product_id": n} for n, id_ in enumerate(ids)])
    said(settings('[columns]\nprice = "price"'))
    toml = '[columns]\nprice = "price"' if change != "field" else '[columns]\nprice = "order_id"'
    told = said(settings(toml))
    table = "products" if change == "table" else "order_lines"
    assert f"fetching {table}: 40 documents" in told
    assert ("fetching order_lines: 2 documents" in told) == (change == "table")


def test_the_steps_of_a_run_read_what_fetch_has_fetched(
    shop: Server[dict[str, Any]], settings: Fetch
) -> None:
    """Between two steps, the data stay the same: dbt is given the folder, and no address."""
    shop.logs.insert_many([line(n) for n in range(5)])
    found = settings('[reading]\norder_lines = "logs"')
    first = take_in(found)
    shop.logs.insert_one(line(6))
    with found.exported():
        assert os.environ["RESTOCK_RAW_DIR"] == str(found.raw_dir)
        assert take_in(Settings.load()) == first
    assert take_in(found).files[0].rows == 6


# --- through the command line ---------------------------------------------------------------------


def contents(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.suffix != ".lock"
    }


def refused(place: Place, *arguments: str, code: int, **variables: str) -> str:
    """Run a command, assert that it fails with a message of one line, and return what it says."""
    home = {"RESTOCK_HOME": str(place.folder / "home")}
    done = place.call("restock", *arguments, **home, **variables)
    assert done.returncode == code, done.stdout + done.stderr
    lines = [line for line in done.stderr.splitlines() if not line.endswith(": started")]
    assert len(lines) == 1 and " ERROR " in lines[0], done.stderr
    assert PASSWORD not in done.stdout + done.stderr and "s3cr3t" not in done.stdout + done.stderr
    return done.stderr


def test_a_lost_connection_leaves_everything_as_it_was(
    shop: Server[dict[str, Any]], place: Place
) -> None:
    home = {"RESTOCK_HOME": str(place.folder / "home")}
    arguments = ("fetch", "--raw-dir", address(shop))
    shop.order_lines.insert_many([line(n, _id=n) for n in range(50)])
    place.restock(*arguments, **home)
    before = contents(place.folder)
    more = mongo._BATCH + 10  # so that there is a second batch to lose
    shop.products.insert_one({"product_id": 7})
    shop.order_lines.insert_many([line(n, _id=n) for n in range(50, more)])
    shop.client.admin.command(
        "configureFailPoint",
        "failCommand",
        mode={"times": 1},
        data={"failCommands": ["getMore"], "closeConnection": True, "appName": "restock"},
    )
    message = refused(place, *arguments, code=1)
    assert "connection was lost, and nothing has changed. Run the same command again" in message
    assert contents(place.folder) == before
    assert place.restock(*arguments, **home)["fetch"]["files"] == {
        "order_lines.parquet": more,
        "products.parquet": 1,
    }


def test_a_server_that_does_not_answer_is_told(settings: Fetch) -> None:
    nobody = "mongodb://reader:s3cr3t@127.0.0.1:1/shop?serverSelectionTimeoutMS=200"
    with pytest.raises(
        RestockError, match=r"^mongodb://127\.0\.0\.1:1/shop: no server answers"
    ) as told:
        take_in(settings(raw_dir=nobody))
    assert told.value.exit_code == 1


@pytest.mark.parametrize(
    ("user", "says"),
    [
        ("reader:s3cr3t-wrong@", "rejects the user or the password"),
        ("nobody:s3cr3t%40w%2Frd@", "the user may not do this"),
        ("reader@", "RESTOCK_MONGO_PASSWORD"),
        ("reader:s3cr3t@w/rd@", "the MongoDB address is not valid"),
    ],
)
def test_bad_credentials_are_told(user: str, says: str, guarded: str, settings: Fetch) -> None:
    with pytest.raises(SettingsError, match=says) as told:
        take_in(settings(raw_dir=f"mongodb://{user}{guarded}/shop"))
    assert "s3cr3t" not in str(told.value)


def test_a_failed_command_prints_one_line_without_the_password(guarded: str, place: Place) -> None:
    address = f"mongodb://reader:s3cr3t-wrong@{guarded}/shop"
    assert "rejects the user" in refused(place, "fetch", "--raw-dir", address, code=2)


@pytest.mark.parametrize("given", ["variable", "address"])
def test_a_password_is_written_nowhere_and_a_reader_is_enough(
    given: str, guarded: str, place: Place
) -> None:
    encoded = "s3cr3t%40w%2Frd"
    variables = {"RESTOCK_HOME": str(place.folder / "home")}
    address = f"mongodb://reader:{encoded}@{guarded}/shop"
    if given == "variable":
        address = f"mongodb://reader@{guarded}/shop"
        variables["RESTOCK_MONGO_PASSWORD"] = PASSWORD
    done = place.call("restock", "fetch", RESTOCK_RAW_DIR=address, **variables)
    assert done.returncode == 0, done.stderr
    written = contents(place.folder)
    assert any(name.endswith("intake.json") for name in written)
    everything = b"".join([done.stdout.encode(), done.stderr.encode(), *written.values()])
    assert b"s3cr3t" not in everything and b"order_lines" in everything
    assert "s3cr3t" not in repr(Settings.load(raw_dir=address, mongo_password=PASSWORD))


@pytest.mark.parametrize(
    "address",
    [
        "mongodb://host",
        "mongodb://host/",
        "mongodb:host/shop",
        "mongodb://reader:s3cr3t#x@host/shop",
        "mongodb://a:s3cr3t:x@host/shop",
        "mongodb://host:port/shop",
    ],
)
def test_an_invalid_address_is_refused(address: str) -> None:
    with (
        pytest.raises((SettingsError, RestockError)) as caught,
        Database.from_address(address).connected() as connection,
    ):
        connection.list_collection_names()
    assert "s3cr3t" not in str(caught.value)


def test_a_database_is_an_order_log(settings: Fetch) -> None:
    assert settings().source == "order_log"
    with pytest.raises(SettingsError, match="its source is order_log"):
        settings(source="instacart")


def test_a_run_on_documents_equals_one_on_files(
    shop: Server[dict[str, Any]],
    place: Place,
    small_shop: Callable[[str, list[shops.Line]], Place],
) -> None:
    lines = shops.small(20)
    shutil.copytree(
        small_shop("twenty", lines).folder, place.folder, dirs_exist_ok=True, symlinks=True
    )
    predictions = "select * exclude (batch_id) from fct_predictions order by all"
    of_files = place.query(predictions)
    columns = mongo._TABLES["order_lines"][0]
    shop.order_lines.insert_many(dict(zip(columns, values, strict=True)) for values in lines)
    summary = place.restock(
        "run",
        *("--raw-dir", address(shop)),
        RESTOCK_HOME=str(place.folder / "home"),
        NUMBA_CACHE_DIR=str(ROOT / "target" / "numba"),
    )
    # No shopper has other orders than in the files, so the run publishes nothing.
    assert summary["fetch"]["rows"] == len(lines) and summary["update"]["shoppers"] == 0
    assert not summary["update"]["is_full_run"]
    assert place.query(predictions) == of_files != []


# --- back into MongoDB ----------------------------------------------------------------------------


@pytest.fixture
def scores(tmp_path: Path, settings: Fetch) -> Callable[[str, int], Settings]:
    """Return a function that makes a warehouse with probabilities of a purchase."""

    def make(batch: str, shoppers: int) -> Settings:
        found = settings(raw_dir=str(tmp_path), source="order_log")
        found.warehouse.parent.mkdir(exist_ok=True)
        with duckdb.connect(str(found.warehouse)) as con:
            con.execute(
                f"create or replace table fct_purchase_propensity as select i as user_id, "
                f"timestamp '2024-03-04' as cutoff_at, '{batch}' as batch_id, "
                f"0.5::float as purchase_probability, i as rank, i < 9 as is_targeted "
                f"from range({shoppers}) as numbers (i)"
            )
        return found

    return make


def test_an_export_replaces_the_collection_at_once(
    scores: Callable[[str, int], Settings],
    shop: Server[dict[str, Any]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A reader in the middle of an export sees one batch, with all of its shoppers."""
    monkeypatch.setattr(sink, "BATCH", 100)
    sink.write(scores("first", 700), lambda *_: None, to=address(shop))
    seen: list[dict[str, int]] = []

    def read() -> None:
        while {"second": 900} not in seen:
            # MongoDB ends a query that is open while its collection is replaced.
            with suppress(OperationFailure):
                batches = [document["batch_id"] for document in shop[sink.COLLECTION].find()]
                seen.append(dict(Counter(batches)))

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    seen_during: list[int] = []
    result = sink.write(
        scores("second", 900), lambda *_: seen_during.append(len(seen)), to=address(shop)
    )
    reader.join(20)
    assert result["rows"] == 900 and seen_during[-1] > 0
    assert [batch for batch in seen if batch not in ({"first": 700}, {"second": 900})] == []
    assert seen[-1] == {"second": 900}
    assert shop.list_collection_names() == [sink.COLLECTION]
    first = shop[sink.COLLECTION].find_one({"_id": 0})
    assert first == {
        "_id": 0,
        "user_id": 0,
        "cutoff_at": "2024-03-04T00:00:00",
        "batch_id": "second",
        "purchase_probability": 0.5,
        "rank": 0,
        "is_targeted": True,
    }


def test_an_export_that_fails_leaves_the_old_batch(
    scores: Callable[[str, int], Settings], shop: Server[dict[str, Any]]
) -> None:
    sink.write(scores("first", 30), lambda *_: None, to=address(shop))

    def fail(what: str, done: int, total: int) -> None:
        raise RestockError("stop")

    with pytest.raises(RestockError, match="stop"):
        sink.write(scores("second", 30), fail, to=address(shop))
    assert shop.list_collection_names() == [sink.COLLECTION]
    assert shop[sink.COLLECTION].distinct("batch_id") == ["first"]


def test_an_export_replaces_no_other_collection(
    scores: Callable[[str, int], Settings], shop: Server[dict[str, Any]]
) -> None:
    shop[sink.COLLECTION].insert_one({"mine": 1})
    with pytest.raises(SettingsError, match="Refusing to overwrite"):
        sink.write(scores("first", 30), lambda *_: None, to=address(shop))
    assert shop[sink.COLLECTION].count_documents({}) == 1


def test_an_export_needs_scores_and_a_place(
    scores: Callable[[str, int], Settings], shop: Server[dict[str, Any]], place: Place
) -> None:
    with pytest.raises(RestockError, match="no purchase probabilities"):
        sink.write(scores("first", 0), lambda *_: None, to=address(shop))
    assert "--out" in refused(place, "export", code=2)
