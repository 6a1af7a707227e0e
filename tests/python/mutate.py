"""Break the project on purpose, one way at a time, and see which test notices.

`python tests/python/mutate.py` works on a copy and changes nothing here. It prints a table and ends
with 1 if a mutant survived, with 2 if one could not be tried: its text is gone, the tests fail
without it, or it does not even run. `--quick` tries one; `--write` puts the table into
docs/reliability.md.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PARTS = (
    *("dbt_project.yml", "profiles.yml", "selectors.yml", "restock.toml", "pyproject.toml"),
    "requirements.lock",
    *("macros", "models", "seeds", "tests", "ml", "dashboards"),
)
REPORT = ROOT / "docs" / "reliability.md"
BEGIN, END = "<!-- mutants -->", "<!-- /mutants -->"

LEAKAGE = "tests/python/test_leakage.py::"
SIMULATED = LEAKAGE + "test_features_do_not_leak_in_simulated_orders"
MADE_UP = LEAKAGE + "test_features_do_not_leak_in_generated_order_logs"
SERVED = LEAKAGE + "test_serving_and_training_see_the_same_features"
NEXT_ORDER = LEAKAGE + "test_a_new_order_does_not_change_past_features"
OWN_SHOPPERS = LEAKAGE + "test_each_job_reads_only_its_own_shoppers"
PERMUTED = LEAKAGE + "test_a_model_trained_on_permuted_labels_has_no_skill"
GATE = "tests/python/test_manifest.py::test_features_reach_orders_only_through_the_past"
PROMOTED = LEAKAGE + "test_promotions_that_start_later_change_no_feature"
PURCHASE = "tests/python/test_purchase_leakage.py::"
PURCHASE_FEATURES = PURCHASE + "test_purchase_features_do_not_leak"
PURCHASE_LABELS = PURCHASE + "test_purchase_labels_are_the_purchases_of_the_window"
PURCHASE_JOBS = "tests/python/test_purchase.py::"
LISTS = "tests/python/test_lists.py::"
OUTCOMES = "tests/python/test_outcomes.py::"
TRUTH = PURCHASE_JOBS + "test_nobody_beats_the_truth"
OWN_MOMENTS = PURCHASE_JOBS + "test_each_job_reads_only_its_own_moments"
PURCHASE_AUDIT = PURCHASE_JOBS + "test_the_audit_detects_damage"
PERIODS = PURCHASE + "test_periods_do_not_overlap"
EVENTS = "tests/python/test_events.py::"
EVENT_PARTS = "tests/python/test_event_parts.py::"
OTHER_FEATURES = "tests/python/test_bad_input.py::test_model_of_other_features"
REFIT = "tests/python/test_refit.py::test_no_job_that_measures_loads_the_model_that_serves"
AUDIT = "tests/python/test_audit.py::test_audit_detects_damage"
KILLS = "tests/python/test_releases.py::test_a_kill_at_any_change_leaves_the_state_before_or_after"
GATED = "tests/python/test_gate.py::test_a_challenger_may_be_worse_by_less_than_the_margin"
NAMED = "tests/python/test_releases.py::test_a_model_that_a_recent_decision_names_stays"
NUMBERS = "tests/python/test_population.py::test_aisles_get_the_numbers_of_another_catalogue"

PAST = "past_items as (\n    select * from {{ ref('past_items') }}\n),"
ALL_ORDERS = """past_items as (
    select items.*, targets.cutoff, targets.order_number - items.order_number as orders_ago
    from {{ ref('fct_order_items') }} as items
    inner join {{ ref('targets') }} as targets on items.user_id = targets.user_id
),"""

PAST_DAYS = "past_days as (\n    select * from {{ ref('past_days') }}\n),"
ALL_DAYS = """past_days as (
    select
        moments.cutoff,
        days.*,
        cast(cast(moments.cutoff_at as date) - days.day as integer) as days_ago,
        case when days.purchase_count > 0 then 1 else 0 end as is_purchase_day,
        case when extract(dow from days.day) = extract(dow from moments.cutoff_at) then 1 else 0
        end as is_same_dow
    from {{ ref('user_days') }} as days
    inner join {{ ref('moments') }} as moments
        on days.user_id = moments.user_id and days.day <= cast(moments.cutoff_at as date)
),"""
CHECKOUTS_OF_THE_WINDOW = """cast((
            select count(*) from {{ ref('fct_events') }} as events
            where events.user_id = moments.user_id
                and events.event_type = 'checkout'
                and events.occurred_at >= moments.cutoff_at - interval '24 hours'
                and events.occurred_at < windows.window_end_at
        ) as integer) as checkout_1_day_count,"""


@dataclass(frozen=True)
class Mutant:
    """One way to break a file: every `old` in it becomes `new`, and `tests` must notice."""

    what: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...] = (SIMULATED,)
    is_quick: bool = False


MUTANTS = (
    Mutant(
        "the past includes the target order (`<` to `<=`)",
        "models/cutoffs/past_items.sql",
        "order_items.order_number < targets.order_number",
        "order_items.order_number <= targets.order_number",
    ),
    Mutant(
        "the past is joined without the shopper",
        "models/cutoffs/past_items.sql",
        "order_items.user_id = targets.user_id\n            and ",
        "",
        tests=(MADE_UP,),
    ),
    Mutant(
        "promotions are known a week before they start",
        "models/cutoffs/running_promotions.sql",
        "promotions.starts_on <= days.day",
        "promotions.starts_on <= days.day + 7",
        tests=(PROMOTED,),
    ),
    Mutant(
        "a feature reads the promotions past their door",
        "models/features/feat_promotions.sql",
        "ref('running_promotions')",
        "ref('fct_promotions')",
        tests=("tests/python/test_manifest.py::test_promotions_reach_features_through_one_model",),
    ),
    Mutant(
        "targets are one order too late",
        "models/cutoffs/targets.sql",
        "cast(orders_from_last as integer) as cutoff",
        "cast(orders_from_last + 1 as integer) as cutoff",
    ),
    Mutant(
        "targets are one order too early",
        "models/cutoffs/targets.sql",
        "cast(orders_from_last as integer) as cutoff",
        "cast(orders_from_last - 1 as integer) as cutoff",
    ),
    Mutant(
        "days since the previous order come from the next order",
        "models/cutoffs/targets.sql",
        "known_orders as (\n    select\n        *,",
        "known_orders as (\n    select\n        * replace (coalesce(\n"
        "            lead(days_since_prior_order) over (\n"
        "                partition by user_id order by order_number\n"
        "            ), days_since_prior_order\n        ) as days_since_prior_order),",
    ),
    Mutant(
        "the target's hour is the median of all orders, including later ones",
        "models/cutoffs/targets.sql",
        "order_hour,\n        days_since_prior_order,\n        order_day -",
        "cast(median(order_hour) over (partition by user_id) as integer) as order_hour,\n"
        "        days_since_prior_order,\n        order_day -",
    ),
    Mutant(
        "split by row instead of by shopper",
        "models/cutoffs/targets.sql",
        "-- By shopper, not by row.\n        {{ split_of('user_id') }}",
        '{{ split_of("cast(user_id as varchar) || cast(cutoff as varchar)") }}',
        tests=(SERVED,),
    ),
    Mutant(
        "gaps measure to the next purchase",
        "macros/purchase_history.sql",
        "lag(order_day) over ()",
        "lead(order_day) over ()",
    ),
    Mutant(
        "a purchase number counts all purchases, also later ones",
        "macros/purchase_history.sql",
        "place - max(case when is_first then place - 1 else 0 end) over (\n"
        "            rows between unbounded preceding and current row\n        )",
        "count(*) over (partition by user_id, product_id)",
    ),
    Mutant(
        "a feature reads fct_order_items",
        "models/features/user_aisle_totals.sql",
        PAST,
        ALL_ORDERS,
        tests=(GATE,),
        is_quick=True,
    ),
    Mutant(
        "a feature reads fct_order_items (without the gate)",
        "models/features/user_aisle_totals.sql",
        PAST,
        ALL_ORDERS,
    ),
    Mutant(
        "product features count all orders",
        "models/features/feat_products.sql",
        "cast(totals.purchases / population.orders as float)",
        "cast((\n            select count(*) from {{ ref('fct_order_items') }} as items\n"
        "            where items.product_id = totals.product_id\n"
        "        ) / population.orders as float)",
    ),
    Mutant(
        "reorder hazards count all orders",
        "models/features/reorder_hazards.sql",
        PAST,
        ALL_ORDERS,
    ),
    Mutant(
        "shopper features count orders up to today",
        "models/features/feat_users.sql",
        "cast(orders.orders as integer) as user_order_count",
        "cast((\n            select max(known_order_count) from {{ ref('dim_users') }} as users\n"
        "            where users.user_id = orders.user_id\n"
        "        ) as integer) as user_order_count",
        tests=(NEXT_ORDER,),
    ),
    Mutant(
        "the streak counts the target order",
        "models/features/feat_user_products.sql",
        "in_last_1 = 1 then last_run else 0 end",
        "in_last_1 = 1 then last_run else 0 end + (\n"
        "            select count(*) from {{ ref('fct_order_items') }} as items\n"
        "            where items.user_id = joined.user_id\n"
        "                and items.product_id = joined.product_id\n"
        "                and items.order_number\n"
        "                    = joined.first_order_number + joined.orders_since_first\n"
        "        )",
    ),
    Mutant(
        "days since the last purchase end at a later order",
        "models/cutoffs/past_items.sql",
        "targets as (\n    select * from {{ ref('targets') }}\n),",
        "targets as (\n    select * replace (coalesce(\n"
        "        lead(order_day) over (partition by user_id order by order_number), order_day\n"
        "    ) as order_day) from {{ ref('targets') }}\n),",
    ),
    Mutant(
        "product features at a past cutoff are today's",
        "models/features/examples.sql",
        "on pairs.cutoff = products.cutoff and",
        "on products.cutoff = 0 and",
    ),
    Mutant(
        "the context uses the target's products",
        "models/features/examples.sql",
        "targets.order_hour as context_hour",
        "(\n            select count(*) from order_items\n"
        "            where order_items.order_id = targets.order_id\n        ) as context_hour",
    ),
    Mutant(
        "the label comes from one order later",
        "models/features/examples.sql",
        "on order_items.order_id = targets.order_id",
        "on order_items.user_id = targets.user_id\n"
        "        and order_items.order_number = targets.order_number + 1",
    ),
    Mutant(
        "order logs are read from the newest order to the oldest",
        "models/staging/order_log/stg_order_log__orders.sql",
        "partition by user_id order by ordered_at, order_id",
        "partition by user_id order by ordered_at desc, order_id",
        tests=(MADE_UP,),
    ),
    Mutant(
        "trained on test shoppers too",
        "ml/jobs/task.py",
        "split = 'train'",
        "split <> 'validation'",
        tests=(OWN_SHOPPERS,),
    ),
    Mutant(
        "calibrated on the pairs to score, as if nobody bought any",
        "ml/jobs/task.py",
        "cutoff between 1 and",
        "cutoff between 0 and",
        tests=(OWN_SHOPPERS,),
    ),
    Mutant(
        "calibrated on training shoppers",
        "ml/jobs/task.py",
        "and split = 'validation'",
        "and split = 'train'",
        tests=(OWN_SHOPPERS,),
    ),
    Mutant(
        "evaluated on training shoppers",
        "ml/jobs/reorder.py",
        'TESTED = "test"',
        'TESTED = "train"',
        tests=(PERMUTED,),
    ),
    Mutant(
        "a model scores with features that it was not trained on",
        "ml/registry/versions.py",
        "if list(trained.items()) != list(now.items()):",
        "if len(trained) != len(now):",
        tests=(OTHER_FEATURES,),
    ),
    Mutant(
        "evaluated is the model that learned from test shoppers too",
        "ml/jobs/evaluate.py",
        "versions.load_measured(settings.models",
        "versions.load(settings.models",
        tests=(REFIT,),
    ),
    Mutant(
        "the gate compares models that learned from test shoppers too",
        "ml/jobs/gate.py",
        "versions.load_measured(settings.models",
        "versions.load(settings.models",
        tests=(REFIT,),
    ),
    Mutant(
        "the audit lets the target's own order pass",
        "ml/jobs/reorder.py",
        "past_items.order_number >= targets.order_number",
        "past_items.order_number > targets.order_number",
        tests=(AUDIT,),
    ),
    Mutant(
        "a run that dies while it publishes loses a promotion",
        "ml/registry/releases.py",
        "set(produced) - set(waiting(settings))",
        "set(produced)",
        tests=(KILLS,),
    ),
    Mutant(
        "the gate looks at the lower end of the interval",
        "ml/modelling/gate.py",
        "if loss.difference.high >= MARGIN",
        "if loss.difference.low >= MARGIN",
        tests=(GATED,),
    ),
    Mutant(
        "the gate overlooks a lower F1",
        "ml/modelling/gate.py",
        "each.difference.high < 0",
        "each.difference.high < -1",
        tests=(GATED,),
    ),
    Mutant(
        "the versions that decisions name are deleted",
        "ml/registry/releases.py",
        " | decisions.named(settings)",
        "",
        tests=(NAMED,),
    ),
    Mutant(
        "the population keeps its aisle numbers when the catalogue has others",
        "ml/warehouse/population.py",
        "replace (now.aisle_id as aisle_id)",
        "replace (trained.aisle_id as aisle_id)",
        tests=(NUMBERS,),
    ),
    Mutant(
        "the audit takes a leak into cutoff 1 for a habit",
        "ml/jobs/audit.py",
        "LEAKED_AUC = 0.1",
        "LEAKED_AUC = 1.0",
        tests=(AUDIT,),
    ),
    Mutant(
        "the audit takes a label at every past cutoff for a habit",
        "ml/jobs/audit.py",
        "float(values <= 1)",
        "float(values < 1)",
        tests=(AUDIT,),
    ),
    Mutant(
        "the past of a moment includes the day of the window (`<` to `<=`)",
        "models/cutoffs/past_days.sql",
        "user_days.day < moments.day",
        "user_days.day <= moments.day",
        tests=(PURCHASE_FEATURES,),
    ),
    Mutant(
        "a late event counts on the day that it happened",
        "models/core/user_days.sql",
        "cast(known_at as date)",
        "cast(occurred_at as date)",
        tests=(PURCHASE_FEATURES,),
    ),
    Mutant(
        "gaps measure to the next day with a purchase",
        "models/core/user_days.sql",
        "lag(day)",
        "lead(day)",
        tests=(PURCHASE_FEATURES,),
    ),
    Mutant(
        "a purchase feature reads user_days",
        "models/features/feat_moments.sql",
        PAST_DAYS,
        ALL_DAYS,
        tests=(GATE,),
    ),
    Mutant(
        "a purchase feature reads user_days (without the gate)",
        "models/features/feat_moments.sql",
        PAST_DAYS,
        ALL_DAYS,
        tests=(PURCHASE_FEATURES,),
    ),
    Mutant(
        "the checkouts of the last day end with the window",
        "models/features/purchase_examples.sql",
        "features.checkout_1_day_count,",
        CHECKOUTS_OF_THE_WINDOW,
        tests=(PURCHASE_FEATURES,),
    ),
    Mutant(
        "checkouts up to the end of the window beat the truth",
        "models/features/purchase_examples.sql",
        "features.checkout_1_day_count,",
        CHECKOUTS_OF_THE_WINDOW,
        tests=(TRUTH,),
    ),
    Mutant(
        "a session counts on the day that it started",
        "models/core/user_days.sql",
        "events as (\n    select * from",
        "events as (\n    select * replace (min(known_at) over (\n"
        "        partition by user_id, session_id\n    ) as known_at) from",
        tests=(PURCHASE_FEATURES,),
    ),
    Mutant(
        "a purchase rate starts from that of everyone on all days",
        "models/features/feat_moments.sql",
        "totals.purchases / totals.tenure_days as purchase_rate",
        "(\n            select avg(case when days.purchase_count > 0 then 1.0 else 0.0 end)\n"
        "            from {{ ref('user_days') }} as days\n        ) as purchase_rate",
        tests=(PURCHASE_FEATURES,),
    ),
    Mutant(
        "a shopper is a robot before the day that shows it",
        "models/cutoffs/moments.sql",
        "coalesce(drawn.robot_day < midnights.day, false) as is_robot",
        "drawn.robot_day is not null as is_robot",
        tests=(PURCHASE_FEATURES,),
    ),
    Mutant(
        "split by moment instead of by shopper",
        "models/cutoffs/moments.sql",
        "split_of('drawn.user_id')",
        'split_of("cast(drawn.user_id as varchar) || cast(midnights.cutoff as varchar)")',
        tests=(PURCHASE_FEATURES,),
    ),
    Mutant(
        "the window starts after its first second",
        "models/features/purchase_examples.sql",
        "purchases.occurred_at >= windows.cutoff_at",
        "purchases.occurred_at > windows.cutoff_at",
        tests=(PURCHASE_LABELS,),
    ),
    Mutant(
        "the window includes the second at its end",
        "models/features/purchase_examples.sql",
        "purchases.occurred_at < windows.window_end_at",
        "purchases.occurred_at <= windows.window_end_at",
        tests=(PURCHASE_LABELS,),
    ),
    Mutant(
        "a label leaves out purchases that became known later",
        "models/features/purchase_examples.sql",
        "        occurred_at\n    from",
        "        known_at as occurred_at\n    from",
        tests=(PURCHASE_LABELS,),
    ),
    Mutant(
        "windows of 7 days start every day and cross the borders between periods",
        "models/cutoffs/purchase_windows.sql",
        "lengths.until_day - numbers.number * lengths.horizon_days as day",
        "lengths.until_day - numbers.number - lengths.horizon_days + 1 as day",
        tests=(PERIODS,),
    ),
    Mutant(
        "a day that was seen by half is a label",
        "models/cutoffs/covered_days.sql",
        "max(last_event_at) as seen_until",
        "cast(max(day) + 1 as timestamp) as seen_until",
        tests=(PURCHASE + "test_a_window_that_was_not_seen_to_its_end_has_no_label",),
    ),
    Mutant(
        "a purchase counts as an order and as an event",
        "models/core/fct_events.sql",
        "where (select count(*) from logged_purchases) = 0",
        "where orders.user_id is not null",
        tests=(PURCHASE + "test_purchases_are_counted_once",),
    ),
    Mutant(
        "the purchases of 28 days end with the window",
        "models/features/purchase_examples.sql",
        "features.purchase_28_days_count,",
        "cast(\n            features.purchase_28_days_count\n"
        "            + case when bought.user_id is not null then 1 else 0 end as integer\n"
        "        ) as purchase_28_days_count,",
        tests=(TRUTH,),
    ),
    Mutant(
        "the purchase model is trained on test shoppers too",
        "ml/jobs/purchase.py",
        "period = 'train' and split <> 'test'",
        "period = 'train' and split is not null",
        tests=(OWN_MOMENTS,),
    ),
    Mutant(
        "robots teach the purchase model",
        "ml/jobs/purchase.py",
        "\"train\": \"period = 'train' and split <> 'test' and not is_robot\"",
        "\"train\": \"period = 'train' and split <> 'test'\"",
        tests=(OWN_MOMENTS,),
    ),
    Mutant(
        "an event that is there twice counts twice",
        "ml/sources/event_selection.py",
        "where place > 1",
        "where place > 2",
        tests=(EVENTS + "test_without_ids_rows_alike_in_every_column_are_one",),
    ),
    Mutant(
        "an event in a new file that is in an old one too counts twice",
        "ml/sources/event_selection.py",
        'among = "where digest in (from others)"',
        'among = "where false"',
        tests=(EVENT_PARTS + "test_a_double_of_an_old_event_does_not_count",),
    ),
    Mutant(
        "a double of an event in a file that is gone does not count",
        "ml/sources/event_selection.py",
        "if n not in linked]",
        "if n in ()]",
        tests=(EVENT_PARTS + "test_what_a_removed_file_has_doubled_counts",),
    ),
    Mutant(
        "times in UTC stay in UTC",
        "ml/sources/clock.py",
        "timezone('{timezone or 'UTC'}', {instant})",
        "timezone('UTC', {instant})",
        tests=(EVENTS + "test_a_log_lands_alike_on_every_clock",),
    ),
    Mutant(
        "the audit takes a column that is the label for a good one",
        "ml/jobs/audit.py",
        "IMPLAUSIBLE_AUC = 0.95",
        "IMPLAUSIBLE_AUC = 1.0",
        tests=(PURCHASE + "test_orders_mapped_to_checkouts_leak_nothing_unless_they_come_early",),
    ),
    Mutant(
        "the purchase model is calibrated on the days that it was trained on",
        "ml/jobs/purchase.py",
        '"held": "period = \'validation\'',
        '"held": "period = \'train\'',
        tests=(OWN_MOMENTS,),
    ),
    Mutant(
        "the purchase model is evaluated on the days that it was calibrated on",
        "ml/jobs/purchase.py",
        '"test": "period = \'test\'',
        '"test": "period = \'validation\'',
        tests=(OWN_MOMENTS,),
    ),
    Mutant(
        "a purchase model learns from the windows of another length too",
        "ml/jobs/purchase.py",
        'f"horizon_days = {self.days} and {part}"',
        'f"horizon_days > 0 and {part}"',
        tests=(OWN_MOMENTS,),
    ),
    Mutant(
        "a list is graded a day before its window closes",
        "models/monitoring/closed_lists.sql",
        "lists.window_end_at <= cast(covered.until_day as timestamp)",
        "lists.cutoff_at <= cast(covered.until_day as timestamp)",
        tests=(LISTS + "test_only_the_newest_list_of_an_open_window_waits",),
    ),
    Mutant(
        "a list is graded with each scoring run",
        "ml/jobs/purchase.py",
        "batch_id in (select batch_id from ml.purchase_outcomes)",
        "batch_id is null",
        tests=(LISTS + "test_only_the_newest_list_of_an_open_window_waits",),
    ),
    Mutant(
        "a run forgets the lists that wait",
        "ml/warehouse/run_records.py",
        '("purchase_lists", "awaited_demand", "outcomes")',
        '("awaited_demand", "outcomes")',
        tests=(LISTS + "test_a_list_is_graded_when_its_window_has_closed",),
    ),
    Mutant(
        "predictions are graded by the newest order",
        "models/monitoring/arrived_orders.sql",
        "order by orders.order_number)",
        "order by orders.order_number desc)",
        tests=(
            "tests/python/test_run.py::test_plain_dbt_builds_runs_and_tests_from_the_raw_files",
        ),
    ),
    Mutant(
        "a scoring job grades the predictions that it has just made",
        "ml/jobs/task.py",
        "    grade=reorder.GRADE,\n    settle=reorder.SETTLE,",
        "    settle=(*reorder.SETTLE, *reorder.GRADE),",
        tests=(OUTCOMES + "test_an_update_grades_the_orders_that_came",),
    ),
    Mutant(
        "an order is graded again if it comes again",
        "ml/warehouse/outcomes.py",
        "anti join ml.{table} ",
        "anti join (from ml.{table} limit 0) as known ",
        tests=(OUTCOMES + "test_scores_grade_an_order_once",),
    ),
    Mutant(
        "the audit lets events of the window pass",
        "ml/jobs/purchase.py",
        "past_days.last_event_at >= moments.cutoff_at",
        "past_days.last_event_at >= purchase_windows.window_end_at",
        tests=(PURCHASE_AUDIT,),
    ),
)


@dataclass(frozen=True)
class Verdict:
    """What the tests said: `passed`, `noticed` (by `test`), or `broken`, with what pytest wrote."""

    outcome: str
    test: str
    output: str


def copy_project(folder: Path) -> None:
    """Copy what the tests need."""
    ignore = shutil.ignore_patterns("__pycache__", "build", "builds", ".build-*")
    for part in PARTS:
        if (ROOT / part).is_dir():
            shutil.copytree(ROOT / part, folder / part, ignore=ignore)
        elif (ROOT / part).exists():
            shutil.copy2(ROOT / part, folder / part)


def run_tests(folder: Path, tests: tuple[str, ...]) -> Verdict:
    """Run tests of the copy up to the first failure."""
    done = subprocess.run(
        [
            *(sys.executable, "-m", "pytest", "-q", "-x", "--tb=no", "-rfE"),
            *("-p", "no:cacheprovider", "--basetemp", str(folder.parent / "scratch"), *tests),
        ],
        cwd=folder,
        # The copy's `ml` comes before the installed one. Two versions of a file may be as long and
        # as old as each other, so no bytecode is kept. As a worker of another test run, the tests
        # would share what they make, also with the run before a mutant.
        env={name: value for name, value in os.environ.items() if "XDIST" not in name}
        | {"PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1", "COLUMNS": "300"},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode == 0:
        return Verdict("passed", "", done.stdout)
    # An assertion that does not hold. Other errors would say that the mutant is no working project.
    if noticed := re.search(r"^FAILED \S+::(\w+).* - (assert|AssertionError)", done.stdout, re.M):
        return Verdict("noticed", noticed[1], done.stdout)
    return Verdict("broken", "", done.stdout + done.stderr)


def mutate(folder: Path, mutant: Mutant) -> Verdict:
    """Break the copy, run the tests, and mend it.

    Raises:
        ValueError: if the text to replace is not there.
    """
    path = folder / mutant.file
    sound = path.read_text()
    if mutant.old not in sound:
        raise ValueError(f"{mutant.file} no longer has the text of the mutant '{mutant.what}'")
    path.write_text(sound.replace(mutant.old, mutant.new))
    try:
        return run_tests(folder, mutant.tests)
    finally:
        path.write_text(sound)


def write_report(rows: list[str]) -> None:
    """Put the table between the markers of docs/reliability.md."""
    before, rest = REPORT.read_text().split(BEGIN)
    _, after = rest.split(END)
    REPORT.write_text("\n".join([before + BEGIN, *rows, END + after]))


def main() -> int:
    """Try the mutants and return the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="try one mutant")
    parser.add_argument("--write", action="store_true", help=f"write the table into {REPORT.name}")
    parser.add_argument("--only", default="", metavar="WORDS", help="try those described so")
    chosen = parser.parse_args()
    mutants = [
        mutant
        for mutant in MUTANTS
        if (mutant.is_quick or not chosen.quick) and chosen.only in mutant.what
    ]
    rows = ["| what was broken | where | noticed by |", "| --- | --- | --- |"]
    counts = {"passed": 0, "noticed": 0, "broken": 0}
    with tempfile.TemporaryDirectory(prefix="restock-mutants-") as scratch:
        folder = Path(scratch, "main")
        folder.mkdir()
        copy_project(folder)
        tests = tuple(dict.fromkeys(test for mutant in mutants for test in mutant.tests))
        if (unbroken := run_tests(folder, tests)).outcome != "passed":
            print(f"The tests fail without any mutant:\n{unbroken.output}", file=sys.stderr)
            return 2
        print("\n".join(rows), flush=True)
        for mutant in mutants:
            try:
                verdict = mutate(folder, mutant)
            except ValueError as error:
                verdict = Verdict("broken", "", str(error))
            counts[verdict.outcome] += 1
            noticed_by = f"`{verdict.test}`" if verdict.test else f"**nothing: {verdict.outcome}**"
            rows.append(f"| {mutant.what} | `{Path(mutant.file).name}` | {noticed_by} |")
            print(rows[-1], flush=True)
            if verdict.outcome == "broken":
                print(verdict.output, file=sys.stderr)
    rows += ["", f"{len(mutants)} mutants tried, {counts['noticed']} noticed."]
    print("\n".join(rows[-2:]))
    if chosen.write:
        write_report(rows)
    return 2 if counts["broken"] else 1 if counts["passed"] else 0


if __name__ == "__main__":
    sys.exit(main())
