"""The simulated shop that grows from week to week, and the truth about its next orders."""

from pathlib import Path
from typing import Any

import duckdb
import pytest
from conftest import Place

from ml.errors import SettingsError
from ml.simulation.growth import simulate_growth

SHOPPERS, CHANGE = 600, 20


def grown(folder: Path, weeks: int, **options: Any) -> Path:
    return simulate_growth(folder / str(weeks), SHOPPERS, weeks=weeks, **options).folder


@pytest.fixture(scope="module")
def shops(tmp_path_factory: pytest.TempPathFactory) -> dict[int, Path]:
    """The shop after 12, 16 and 24 weeks; its taste changes after 20."""
    folder = tmp_path_factory.mktemp("grown")
    return {weeks: grown(folder, weeks, changes_in_week=CHANGE) for weeks in (12, 16, 24)}


def rows(sql: str) -> list[tuple[Any, ...]]:
    with duckdb.connect() as con:
        return con.execute(sql).fetchall()


def test_a_longer_log_is_the_same_shop_later(shops: dict[int, Path]) -> None:
    early, late = (f"(from '{shops[weeks]}/order_lines.csv')" for weeks in (12, 24))
    first = f"(from {late} where ordered_at < date '2024-03-25')"
    assert rows(f"select count(*) > 5000 from {early}") == [(True,)]
    for one, other in ((early, first), (first, early)):
        assert rows(f"select count(*) from (from {one} except all from {other})") == [(0,)]


def test_the_next_orders_of_the_truth_come(shops: dict[int, Path]) -> None:
    truth, lines = f"'{shops[12]}/true_probabilities.parquet'", f"'{shops[24]}/order_lines.csv'"
    assert rows(
        f"""
        select count(*) > 200, count(*) filter (bought is distinct from is_there)
        from {truth} left join (select *, true as is_there from {lines})
            using (user_id, product_id, ordered_at)
        where ordered_at < date '2024-06-17' and (bought or is_there)
        """
    ) == [(True, 0)]
    assert rows(f"select min(ordered_at) >= date '2024-03-25' from {truth}") == [(True,)]


def test_the_truth_is_right_before_and_after_a_change(shops: dict[int, Path]) -> None:
    for folder in shops.values():
        (((pairs, error),)) = rows(
            f"""
            select count(*), sum(bought::integer - probability)
                / sqrt(sum(probability * (1 - probability)))
            from '{folder}/true_probabilities.parquet'
            """
        )
        assert pairs > 5_000 and abs(error) < 3


def test_a_change_of_taste_favours_the_other_aisles(shops: dict[int, Path]) -> None:
    def preference(weeks: int) -> float:
        """How much likelier products of even aisles are bought again than those of odd ones."""
        ((ratio,),) = rows(
            f"""
            select avg(probability) filter (product_id % 134 % 2 = 0)
                / avg(probability) filter (product_id % 134 % 2 = 1)
            from '{shops[weeks]}/true_probabilities.parquet'
            """
        )
        return float(ratio)

    assert preference(16) < 0.7 < 1.4 < preference(24)


def test_shoppers_join_and_leave(shops: dict[int, Path]) -> None:
    ((joined, left),) = rows(
        f"""
        select count(*) filter (first >= date '2024-03-25'), count(*) filter (
            last < date '2024-03-25'
        )
        from (
            select min(ordered_at) as first, max(ordered_at) as last
            from '{shops[24]}/order_lines.csv' group by user_id
        )
        """
    )
    assert joined > 40 and left > 20


def test_the_files_depend_on_the_seed_alone(shops: dict[int, Path], tmp_path: Path) -> None:
    again = grown(tmp_path, 12, changes_in_week=CHANGE, threads=1)
    for path in shops[12].iterdir():
        assert (again / path.name).read_bytes() == path.read_bytes(), path.name
    other = simulate_growth(tmp_path / "other", SHOPPERS, 1, weeks=12).folder
    assert (other / "order_lines.csv").read_bytes() != (again / "order_lines.csv").read_bytes()


def test_the_command_writes_the_same(place: Place, tmp_path: Path) -> None:
    simulate_growth(tmp_path / "function", 30, 5, weeks=9)
    options = ("--shoppers", "30", "--seed", "5", "--weeks", "9", "--out", tmp_path / "command")
    place.restock("simulate", *options)
    for path in (tmp_path / "function").iterdir():
        assert (tmp_path / "command" / path.name).read_bytes() == path.read_bytes(), path.name
    done = place.call("restock", "simulate", *options, "--events")
    assert done.returncode == 2 and "Use --days" in done.stderr


def test_a_log_of_a_few_days_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="Ask for 4 to 104"):
        grown(tmp_path, 3)
