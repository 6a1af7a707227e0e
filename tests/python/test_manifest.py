"""Rules about the dbt project, read off its manifest: who may read what, and what must be said."""

import json
import re
from collections.abc import Callable
from typing import Any

import duckdb
import pytest
from conftest import ROOT, Place

from dashboards.site.parse import Query, parse_page
from dashboards.site.queries import INPUT, QUERY
from ml.jobs.update import AT_CUTOFF_0, OF_SHOPPERS
from ml.warehouse.population import TABLES as POPULATION

pytestmark = pytest.mark.slow

Manifest = dict[str, Any]

# A layer reads only what stands here, beside itself.
LAYERS = {
    "staging": {"sources"},
    "core": {"staging"},
    "cutoffs": {"core"},
    "features": {"cutoffs"},
    "predictions": {"ml", "core", "cutoffs", "features"},
    "monitoring": {"ml", "core", "cutoffs", "features", "predictions"},
    "reporting": {"ml", "core", "cutoffs", "features", "predictions", "monitoring", "seeds"},
}


# The Complete Journey has the manifest of an order log: it is one.
@pytest.fixture(scope="module", params=("order_log", "instacart"))
def manifest(request: pytest.FixtureRequest, project: Callable[[str], Place]) -> Manifest:
    return json.loads((project(request.param).target / "manifest.json").read_text())


def models(manifest: Manifest, layer: str = "") -> dict[str, Any]:
    return {
        node["name"]: node
        for node in manifest["nodes"].values()
        if node["resource_type"] == "model" and node["fqn"][1].startswith(layer)
    }


def parents(node: dict[str, Any]) -> set[str]:
    """What a model reads: names of models, and `source.table` for sources."""
    return {".".join(parent.split(".")[2:]) for parent in node["depends_on"]["nodes"]}


def described(manifest: Manifest) -> dict[str, Any]:
    """Models, seeds and sources, by id."""
    nodes = manifest["nodes"] | manifest["sources"]
    kinds = ("model", "seed", "source")
    return {key: node for key, node in nodes.items() if node["resource_type"] in kinds}


# The models of features that read a fact table, and only for the label: the lines of the target
# order, or the purchases in the window.
LABELLED = {
    "examples": {"fct_order_items"},
    "first_purchases": {"fct_order_items"},
    "purchase_examples": {"fct_events"},
}


def test_features_reach_orders_only_through_the_past(manifest: Manifest) -> None:
    gates = (
        {"past_items", "targets", "running_promotions"},
        {"past_days", "moments", "purchase_windows"},
    )
    features = models(manifest, "features")
    for name, node in features.items():
        allowed = gates["purchase" in node["config"]["tags"]] | features.keys()
        assert parents(node) <= allowed | LABELLED.get(name, set()), name


def test_every_table_of_features_is_of_shoppers_or_of_the_population(manifest: Manifest) -> None:
    """A run on new orders makes the first anew for those who ordered, and leaves the others.

    dbt builds the models tagged `purchase` in every run, so an update has no list of them. Each of
    their tables is of shoppers.
    """
    layers = {**models(manifest, "cutoffs"), **models(manifest, "features")}
    tags = {
        name: set(node["config"]["tags"])
        for name, node in layers.items()
        if node["config"]["materialized"] != "view"
    }
    assert {name for name in tags if "population" in tags[name]} == set(POPULATION)
    assert {name for name in tags if not tags[name]} == set(AT_CUTOFF_0)
    assert {name for name in tags if tags[name] == {"purchase"}} == {
        *("purchase_windows", "moments", "feat_moments")
    }
    core = models(manifest, "core")
    purchase = {name for name, node in core.items() if "purchase" in node["config"]["tags"]}
    assert purchase == {"fct_events", "user_days"}
    assert core.keys() - purchase - {"dim_products", "fct_promotions"} == set(OF_SHOPPERS)


def test_updates_leave_out_the_purchase_models(manifest: Manifest) -> None:
    """Only a report may read both questions: its table is rebuilt after the scores of each."""
    tagged = {n for n, node in models(manifest).items() if "purchase" in node["config"]["tags"]}
    for name, node in models(manifest).items():
        is_free = name in tagged or node["fqn"][1] == "reporting"
        assert is_free or not parents(node) & tagged, name


def test_the_past_is_decided_once(manifest: Manifest) -> None:
    readers = {
        name
        for name, node in models(manifest).items()
        if parents(node) & {"fct_orders", "fct_order_items"} and node["fqn"][1] != "core"
    }
    assert readers >= {"targets", "past_items", "examples"}
    assert not readers & (models(manifest, "features").keys() - {"examples", "first_purchases"})
    assert parents(models(manifest)["past_items"]) == {"fct_order_items", "targets"}


def test_promotions_reach_features_through_one_model(manifest: Manifest) -> None:
    readers = {name for name, node in models(manifest).items() if "fct_promotions" in parents(node)}
    assert readers == {"running_promotions"}


def test_the_past_of_a_moment_is_decided_once(manifest: Manifest) -> None:
    """Events and days reach features through `moments` and `past_days` alone.

    No feature knows the window, not even its length: they read nothing that has it.
    """
    readers = {
        table: {
            name
            for name, node in models(manifest).items()
            if table in parents(node) and node["fqn"][1] in ("cutoffs", "features")
        }
        for table in (
            *(
                "fct_events",
                "user_days",
                "covered_days",
                "purchase_windows",
                "moments",
                "past_days",
            ),
        )
    }
    assert readers == {
        "fct_events": {"purchase_examples"},
        "user_days": {"covered_days", "moments", "past_days"},
        "covered_days": {"purchase_windows"},
        "purchase_windows": {"moments", "purchase_examples"},
        "moments": {"past_days", "feat_moments", "purchase_examples"},
        "past_days": {"feat_moments"},
    }


def test_layers_look_one_way(manifest: Manifest) -> None:
    layer = {name: node["fqn"][1] for name, node in models(manifest).items()}
    seeds = [n["name"] for n in manifest["nodes"].values() if n["resource_type"] == "seed"]
    layer |= dict.fromkeys(seeds, "seeds")
    for name, node in models(manifest).items():
        for parent in parents(node) - LABELLED.get(name, set()):
            where = layer.get(parent) or ("ml" if parent.startswith("ml.") else "sources")
            allowed = LAYERS[layer[name]] | {layer[name]}
            assert where in allowed, f"{name} reads {parent}, of {where}"


def test_features_are_the_columns_that_say_so(manifest: Manifest) -> None:
    keys = {
        "examples": {"product_id", "context_source"},
        "purchase_examples": {
            *("horizon_days", "cutoff_at", "window_end_at", "period", "is_robot"),
            # Only baselines read these.
            *("days_since_first_purchase", "tenure_days", "purchase_count"),
        },
    }
    for name, own in keys.items():
        columns = models(manifest)[name]["columns"]
        features = {n for n, column in columns.items() if "feature" in column["config"]["meta"]}
        assert features == columns.keys() - own - {"cutoff", "user_id", "split", "label"}


def test_every_model_is_described_and_has_a_tested_key(manifest: Manifest) -> None:
    keyed = {
        node["attached_node"].split(".")[-1]
        for node in manifest["nodes"].values()
        if node["resource_type"] == "test"
        and node["test_metadata"]["name"] in ("unique", "unique_key")
    }
    for name, node in models(manifest).items():
        assert node["description"].startswith("One row per"), name
        assert name in keyed, f"{name} has no tested key"
    for source in manifest["sources"].values():
        assert source["description"].startswith("One row per"), source["name"]


def test_descriptions_are_sentences(manifest: Manifest) -> None:
    """A comma cuts off an unquoted description in a YAML flow mapping: the full stop is missing."""
    for key, node in described(manifest).items():
        for item in (node, *node["columns"].values()):
            assert item["description"].strip().endswith("."), f"{key} {item['name']}"


def test_macros_and_their_arguments_are_described(manifest: Manifest) -> None:
    ours = [m for m in manifest["macros"].values() if m["package_name"] == "restock"]
    for macro in ours:
        tag = re.search(r"{%-? *(?:macro|test) \w+\((.*?)\) *-?%}", macro["macro_sql"], re.DOTALL)
        names = re.findall(r"(\w+)(?:=[^,]*)?(?:, *|$)", tag[1]) if tag else []
        assert [argument["name"] for argument in macro["arguments"]] == names, macro["name"]
        for item in (macro, *macro["arguments"]):
            assert item["description"].strip().endswith("."), f"{macro['name']} {item['name']}"


def test_seeds_declare_the_type_of_every_column(manifest: Manifest) -> None:
    """dbt and load_missing_seeds then create the same table."""
    for node in described(manifest).values():
        if node["resource_type"] == "seed":
            assert node["config"]["column_types"].keys() == node["columns"].keys(), node["name"]


def test_every_column_is_documented_and_exists(
    manifest: Manifest, request: pytest.FixtureRequest
) -> None:
    is_instacart = "stg_instacart__orders" in models(manifest)
    place: Place = request.getfixturevalue("published" if is_instacart else "complete_journey")
    columns: dict[tuple[str, str], set[str]] = {}
    for schema, table, column in place.query(
        "select schema_name, table_name, column_name from duckdb_columns() where not internal"
    ):
        columns.setdefault((schema, table), set()).add(column)
    landing = place.folder / "restock.duckdb.landing"
    for path in landing.glob("*.parquet"):
        schema = "instacart" if is_instacart else "order_log"
        described_by = place.query(f"describe select * from '{path}'")
        columns[schema, path.stem] = {name for name, *_ in described_by}
    for key, node in described(manifest).items():
        is_raw = node["resource_type"] == "source" and node["source_name"] != "ml"
        table = (node["source_name"] if is_raw else node["schema"], node["name"])
        if is_raw and table not in columns:
            continue  # a source of the other data
        assert node["columns"].keys() == columns[table], key


def test_public_models_have_a_contract(manifest: Manifest) -> None:
    public = {n for n, node in models(manifest).items() if node["config"]["access"] == "public"}
    assert public >= {"examples", "targets", "fct_predictions", "fct_baskets", "fct_demand"}
    assert public >= {
        "fct_discoveries",
        "fct_recommendations",
        "fct_aisle_returns",
        "fct_product_trends",
    }
    assert public >= {"fct_events", "user_days", "purchase_windows", "moments"}
    assert public >= {"purchase_examples", "fct_purchase_propensity", "fct_weekly_propensity"}
    assert public >= models(manifest, "reporting").keys()
    for name in public:
        assert models(manifest)[name]["config"]["contract"]["enforced"], name


def test_the_dashboard_exposure_names_the_tables_that_pages_read(manifest: Manifest) -> None:
    exposure = manifest["exposures"]["exposure.restock.dashboard"]
    folder = ROOT / "dashboards"
    paths = (*(folder / "pages").glob("*.md"), *(folder / "pages").glob("*/[[]*.md"))
    pages = [parse_page(path) for path in paths]
    queries = [query for page in pages for query in page.queries.values()]
    queries += [Query(p.stem, p.read_text(), p, 1) for p in (folder / "queries").glob("*.sql")]
    plain = [QUERY.sub("(select 1)", INPUT.sub("null", query.sql)) for query in queries]
    with duckdb.connect() as parser:
        named = {name for sql in plain for name in parser.get_table_names(sql, qualified=True)}
    assert parents(exposure) == {name.partition(" AS ")[0] for name in named}
