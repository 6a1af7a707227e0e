"""Weeks of the simulated half year: the first run, a delivery that is cut off, and the next one."""

import csv
import subprocess
import sys

import duckdb
import pytest
from conftest import ROOT, Place

pytestmark = pytest.mark.slow


def test_weeks_are_graded_beside_the_first_model_and_the_truth(place: Place) -> None:
    out = place.folder / "half year"
    done = subprocess.run(
        [sys.executable, ROOT / "benchmarks" / "half_year.py", "--out", out, "--shoppers", "200",
         "--weeks", "3"],
        cwd=ROOT, env=place.environment | {"RESTOCK_TRAINING_ROWS": "5000"}, text=True,
        capture_output=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    with (out / "half_year.csv").open() as file:
        weeks = list(csv.DictReader(file))
    assert [week["outcome"] for week in weeks] == ["published", "failed", "published"]
    first, cut, last = weeks
    assert [week["decision"] for week in weeks] == ["first", "", "too few to tell"]
    assert "changed_shoppers_share" in last["rules"]
    assert "order_lines.csv, line " in cut["reason"] and cut["orders"] == "0"
    assert cut["model"] == first["model"], "the release of the week before is still served"
    # What the first model would have served is what it did serve, as far as it did.
    assert first["mean_f1"] == first["first_mean_f1"]
    assert first["log_loss"] == first["first_log_loss"]
    for week in (first, last):
        assert int(week["orders"]) > 50
        assert float(week["true_log_loss"]) < min(
            float(week["log_loss"]), float(week["first_log_loss"])
        )
    assert done.stdout.count("\n") == 5, "a table of three weeks"
    # The release of the last week has graded those of the first one in SQL, to the same figures.
    with duckdb.connect(str(out / "restock.duckdb"), read_only=True) as con:
        (graded,) = con.execute(
            """
            select
                count(*),
                avg(case when basket_units + bought_units = 0 then 1
                    else 2 * basket_bought_units / (basket_units + bought_units) end),
                sum(log_loss_sum) / sum(pair_count)
            from ml.outcomes
            """
        ).fetchall()
    figures = [float(first[name]) for name in ("orders", "mean_f1", "log_loss")]
    assert graded == pytest.approx(figures, rel=1e-9)
