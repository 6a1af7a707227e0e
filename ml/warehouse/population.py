"""The population of a model version: the tables that sum over all shoppers, as of its training.

They are Parquet files in the version's folder, with the rows of cutoff 0. The catalogue of that day
is beside them, because it numbers the aisles.
"""

from pathlib import Path

import duckdb

from ml.errors import RestockError
from ml.warehouse.connection import parquet, quoted

TABLES = ("usual_gap", "reorder_hazards", "feat_products", "aisle_totals")
"""The dbt models tagged `population`."""
CATALOGUE = "dim_products"
FILES = (*TABLES, CATALOGUE)


def scored_with(table: str, place: str = "") -> str:
    """Return the end of a SQL statement about the rows of a table that scores depend on."""
    return f"from {place}{table}" + (" where cutoff = 0" if table in TABLES[1:] else "")


def write(con: duckdb.DuckDBPyConnection, folder: Path) -> None:
    """Write the population of a warehouse to the folder of a model version."""
    for table in FILES:
        con.execute(
            f"copy ({scored_with(table)} order by all) to {quoted(folder / f'{table}.parquet')} "
            "(compression zstd)"
        )


def read(con: duckdb.DuckDBPyConnection, folder: Path) -> None:
    """Create the population tables in a warehouse from the folder of a model version.

    Raises:
        RestockError: the version has no population.
    """
    for table in TABLES:
        if not (file := folder / f"{table}.parquet").exists():
            raise RestockError(
                f"{file} does not exist, so this version cannot score new orders. Run "
                "`restock run --full`, and `restock promote` before it if promotion is held."
            )
        con.execute(f"create table {table} as from {parquet(file)}")


def renumber_aisles(con: duckdb.DuckDBPyConnection, folder: Path) -> None:
    """Give the aisles of the population the numbers they have in the warehouse's catalogue.

    A catalogue with other aisles numbers them otherwise. An aisle without a population is new.
    """
    aisle = "aisle_id, department, aisle, is_in_catalogue"
    trained = parquet(folder / f"{CATALOGUE}.parquet")
    con.execute(
        f"""
        create or replace table aisle_totals as
        with trained as (
            select distinct {aisle} from {trained}
        ),
        now as (
            select distinct {aisle} from {CATALOGUE}
        )
        select aisle_totals.* replace (now.aisle_id as aisle_id)
        from aisle_totals
        inner join trained on aisle_totals.aisle_id = trained.aisle_id
        inner join now
            on trained.department = now.department
            and trained.aisle = now.aisle
            and trained.is_in_catalogue = now.is_in_catalogue
        """
    )
