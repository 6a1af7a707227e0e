"""The memory limit for DuckDB and Python together."""

from pathlib import Path

import pytest
from conftest import Place

from ml import memory
from ml.errors import SettingsError

GIB = 1 << 30


@pytest.mark.parametrize(
    ("limit", "expected"),
    [("3GB", 3 * GIB), ("1.5 GiB", 3 * GIB // 2), ("500mb", 500 << 20), ("4096", 4096)],
)
def test_parses_a_limit(limit: str, expected: int) -> None:
    assert memory.in_bytes(limit) == expected


@pytest.mark.parametrize("limit", ["much", "-1GB", "0GB", "3 bananas"])
def test_rejects_an_invalid_limit(limit: str) -> None:
    with pytest.raises(SettingsError, match=f"invalid memory_limit '{limit}': write it as 3GB"):
        memory.in_bytes(limit)


def test_a_container_limit_replaces_the_machine_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    limit = tmp_path / "memory.max"
    monkeypatch.setattr(memory, "_CGROUP", (limit,))
    machine = memory.of_machine()
    limit.write_text("max\n")
    assert memory.of_machine() == machine
    limit.write_text(f"{GIB}\n")
    assert memory.of_machine() == GIB
    assert memory.in_bytes("") == int(0.6 * GIB)
    limit.write_text(f"{64 * GIB}\n")
    assert memory.in_bytes("") == min(3 * GIB, int(0.6 * machine))


def test_duckdb_gets_all_but_the_part_of_python() -> None:
    assert memory.of_duckdb("8GB") == "7168MiB"
    assert memory.of_duckdb("3GB") == "2048MiB"
    assert memory.of_duckdb("1GB") == "512MiB"


@pytest.mark.slow
def test_plain_dbt_respects_the_limit(place: Place, instacart_files: Path) -> None:
    shown = place.call(
        *("dbt", "show", "--quiet", "--inline", "select current_setting('memory_limit') as mem"),
        RESTOCK_SOURCE="instacart",
        RESTOCK_RAW_DIR=str(instacart_files),
        RESTOCK_MEMORY_LIMIT="3GB",
    )
    assert "2.0 GiB" in shown.stdout, shown.stdout + shown.stderr
