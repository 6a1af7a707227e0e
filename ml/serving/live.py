"""Live scores: what a batch would give shoppers with orders that it has not seen.

The statement in the model's folder computes the features (`ml.warehouse.feature_sql`) with the
population of the model. So a live score equals the score of a batch with the same orders, bit for
bit. Most of its time goes into planning the statement, whatever the number of shoppers, so score
several requests together where you can.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from functools import lru_cache
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from ml.errors import RestockError, busy
from ml.modelling.model import Model
from ml.registry import versions
from ml.settings import Settings
from ml.warehouse import connection, population
from ml.warehouse.feature_list import Feature

Id = int | str
Day = tuple[date | None, int | None]
"""The day of the next order: a date, or days after the last order; neither for the usual gap."""

# They take longer over the statement than they save, for so few rows.
_SLOW_OPTIMIZERS = (
    "projection_pullup,column_lifetime,projection_placement,statistics_propagation,"
    "common_subexpressions"
)
# Promotions that are over matter to no score: the day of a request is after the newest order.
_PROMOTIONS = """
create table given.promotions as
select * from last.fct_promotions
where ends_on >= (select cast(max(ordered_at) as date) from last.fct_orders)
"""
_MOST_ORDERS = 10_000_000  # of a shopper; order IDs count on from here to the next request
_TABLES = f"""
create schema given;
create table given.orders as
select * exclude (order_day) replace (0 as user_id, 0::bigint as order_id)
from last.fct_orders limit 0;
create table given.order_items as
select 0::bigint as order_id, product_id, cart_position, quantity, sales_value
from last.fct_order_items limit 0;
create table known as
select 0 as request, user_id, 0::bigint as most, false as is_changed
from last.fct_orders limit 0;
create macro order_key(request, order_number) as request * {_MOST_ORDERS}::bigint + order_number;
"""
# The number of the request takes the place of the shopper: two requests may name the same one. An
# open order is delivered by the first of the newer orders.
_KNOWN = """
insert into given.orders by name
select * exclude (order_day, most, is_changed, request, user_id, order_id),
    request as user_id, order_key(request, order_number) as order_id
from last.fct_orders inner join known using (user_id)
where order_number <= most and not (is_open and is_changed);
insert into given.order_items by name
select
    order_key(request, order_number) as order_id, product_id, cart_position, quantity, sales_value
from last.fct_order_items inner join known using (user_id)
where order_number <= most;
"""
_LAST_ORDERS = """
select user_id, max(order_number), max(ordered_at) from given.orders
where not is_open
group by user_id
"""
# The day that the release predicts for, read from what it predicted for each shopper.
_SCORED_FOR = """
select
    min(day) as day,
    min(day) is not distinct from max(day) as is_one_day,
    min(days) as days
from (
    select
        cast(last_ordered_at as date) + days_since_prior_order as day,
        days_since_prior_order as days
    from last.targets inner join last.dim_users using (user_id)
    where cutoff = 0 and context_source = 'as_of'
)
"""


class RequestError(RestockError):
    """A request cannot be scored; the message says what to change."""


class UnknownShopperError(RequestError):
    """The release has no orders of the shopper, and the request brings none."""


@dataclass(frozen=True)
class Order:
    """An order that the release does not have.

    Attributes:
        product_ids: products in the order of the cart.
        ordered_at: time of the order in the time zone of the shop; None if orders have no dates.
        is_timed: whether the hour of ``ordered_at`` is known.
        order_dow: weekday, 0 for Sunday, if orders have no dates.
        order_hour: hour of the day, if orders have no dates.
        days_since_prior_order: days since the order before, if orders have no dates.
    """

    product_ids: Sequence[Id]
    ordered_at: datetime | None = None
    is_timed: bool = True
    order_dow: int | None = None
    order_hour: int | None = None
    days_since_prior_order: int | None = None


@dataclass(frozen=True)
class Request:
    """A shopper to score: one that the release has, newer orders of theirs, or orders alone.

    Attributes:
        user_id: shopper of the release; None for a history out of nothing.
        orders: newer orders, the oldest first.
        day: the day to predict for; that of the release, or the day after the newest order if that
            is later, where it is neither a date nor a number of days.
        known_orders: how many orders of the release count, from the oldest; None for all. An open
            order counts only with all.
    """

    user_id: Id | None = None
    orders: Sequence[Order] = ()
    day: Day = (None, None)
    known_orders: int | None = None


@dataclass(frozen=True)
class Scored:
    """The scores of a request. Arrays have one entry per product that the shopper has bought.

    Attributes:
        day: the day that was predicted for.
        known_order_count: orders of the shopper in the release, with known products.
        product_id: products, sorted.
        probability: float32.
        rank: 1 for the likeliest product.
        in_basket: whether the product is in the basket.
        reason: why the shopper may want the product.
        X: float32 features, shape (n_products, n_features).
    """

    day: Day
    known_order_count: int
    product_id: list[Id]
    probability: npt.NDArray[np.float32]
    rank: npt.NDArray[np.int64]
    in_basket: npt.NDArray[np.bool_]
    reason: list[str]
    X: npt.NDArray[np.float32]


class Live:
    """Scores requests with a model version and the orders of a release. Not for several threads.

    Attributes:
        model: the model.
        features: its features, in order.
        day: the day that the release predicts for.
        has_dates: whether orders have dates.
    """

    def __init__(self, settings: Settings, version: str) -> None:
        """Read a model version and its population, and the catalogue of the release.

        Args:
            settings: with the warehouse of the release.
            version: model version that scored the release.

        Raises:
            RestockError: a file is missing or changed.
            BusyError: a step is writing the warehouse.
        """
        self.model, self.features, statement = _load(settings.models, version)
        self._warehouse = settings.warehouse
        # One thread: the tables of a request are small.
        config: dict[str, Any] = {
            "threads": 1,
            "memory_limit": settings.duckdb_memory,
            "disabled_optimizers": _SLOW_OPTIMIZERS,
        }
        self._con = duckdb.connect(config=config)
        (self._statement,) = self._con.extract_statements(statement)
        with self._release():
            self._con.execute("create schema population; use population")
            population.read(self._con, settings.models / version)
            self._con.execute("create table dim_products as from last.dim_products")
            population.renumber_aisles(self._con, settings.models / version)
            # The statement reads no more of it, and planning takes longer with every column.
            self._con.execute(
                "create or replace table dim_products as "
                "select product_id, aisle_id from dim_products; use main"
            )
            self._con.execute(_TABLES)
            if "given.promotions" in statement:
                self._con.execute(_PROMOTIONS)
            ((day, is_one_day, days),) = self._con.execute(_SCORED_FOR).fetchall()
            self.day: Day = (day, None) if day and is_one_day else (None, days)
            self.has_dates, self._has_positions = self._con.execute(
                "select count(ordered_at) > 0, (select count(cart_position) > 0 "
                "from last.fct_order_items) from last.fct_orders"
            ).fetchall()[0]

    def close(self) -> None:
        """Free the memory."""
        self._con.close()

    def score(self, requests: Sequence[Request]) -> list[Scored | RequestError]:
        """Return the scores of each request, or why it cannot be scored.

        Products outside the catalogue count for nothing, so leave them out.

        Raises:
            BusyError: a step is writing the warehouse.
        """
        by_day: dict[Day, dict[int, Request]] = {}
        answers: dict[int, Scored | RequestError] = {}
        for number, request in enumerate(requests):
            try:
                by_day.setdefault(self._day_of(request), {})[number] = request
            except RequestError as error:
                answers[number] = error
        with self._release():
            for day, together in by_day.items():
                with self._undone():
                    answers |= self._score(day, together)
        return [answers[number] for number in range(len(requests))]

    def _day_of(self, request: Request) -> Day:
        """Return the day to predict for."""
        as_of, as_of_days = request.day
        if as_of and not self.has_dates:
            raise RequestError(
                "as_of needs dates, and the orders of this shop have none. Use as_of_days."
            )
        if as_of_days is not None and self.has_dates:
            raise RequestError("as_of_days is for shops whose orders have no dates. Use as_of.")
        if any((order.ordered_at is None) == self.has_dates for order in request.orders):
            needed = "ordered_at" if self.has_dates else "days_since_prior_order, not ordered_at"
            raise RequestError(f"every order of this shop needs {needed}.")
        placed = [order.ordered_at for order in request.orders if order.ordered_at]
        if placed != sorted(placed):
            raise RequestError("the orders are not sorted: write the oldest first.")
        day = self.day if request.day == (None, None) else request.day
        if request.day == (None, None) and self.day[0] and placed:
            return max(self.day[0], placed[-1].date() + timedelta(days=1)), None
        return day

    def _score(self, day: Day, requests: dict[int, Request]) -> dict[int, Scored | RequestError]:
        """Return the scores of requests for one day, by the number of the request."""
        con = self._con
        named = {n: request for n, request in requests.items() if request.user_id is not None}
        con.execute(
            "insert into known select unnest($1), unnest($2), unnest($3), unnest($4)",
            [
                list(named),
                [request.user_id for request in named.values()],
                [
                    _MOST_ORDERS if request.known_orders is None else request.known_orders
                    for request in named.values()
                ],
                [
                    bool(request.orders) or request.known_orders is not None
                    for request in named.values()
                ],
            ],
        )
        con.execute(_KNOWN)
        last = {number: found for number, *found in con.execute(_LAST_ORDERS).fetchall()}
        answers: dict[int, Scored | RequestError] = {}
        orders: list[dict[str, Any]] = []
        items: list[dict[str, Any]] = []
        for number, request in requests.items():
            known, newest = last.get(number, (0, None))
            try:
                _check(request, known, newest, day)
            except RequestError as error:
                answers[number] = error
                con.execute("delete from given.orders where user_id = ?", [number])
                continue
            for order_number, order in enumerate(request.orders, start=known + 1):
                orders.append(_row(order, newest) | {"user_id": number, "number": order_number})
                newest = order.ordered_at
                items += [
                    {"user_id": number, "number": order_number, "product_id": id, "position": place}
                    for place, id in enumerate(dict.fromkeys(order.product_ids), start=1)
                ]
        self._place(orders, items)
        scored = sorted(requests.keys() - answers.keys())
        if not scored:
            return answers
        rows = con.execute(self._statement, {"as_of": day[0], "as_of_days": day[1]}).fetchnumpy()
        user = rows["user_id"]
        offsets = np.append(np.searchsorted(user, scored), len(user))
        X = np.empty((len(self.features), len(user)), dtype=np.float32).T
        for column, feature in enumerate(self.features):
            X[:, column] = np.ma.filled(rows[feature.name].astype(np.float32), np.nan)
        # As in the scoring job: ranks and choices follow from the published float32.
        probability = np.empty(0, dtype=np.float32)
        columns = {"rank_in_user": np.empty(0, dtype=np.int64), "in_basket": np.empty(0, bool)}
        if len(user):
            probability = self.model.predict(X).astype(np.float32)
            columns = self.model.rule.columns(probability, user, offsets)
        for at, number in enumerate(scored):
            own = slice(offsets[at], offsets[at + 1])
            answers[number] = Scored(
                day=day,
                known_order_count=last.get(number, (0, None))[0],
                product_id=rows["product_id"][own].tolist(),
                probability=probability[own],
                rank=columns["rank_in_user"][own],
                in_basket=columns["in_basket"][own],
                reason=rows["reason"][own].tolist(),
                X=X[own],
            )
        return answers

    def _place(self, orders: list[dict[str, Any]], items: list[dict[str, Any]]) -> None:
        """Add the orders of requests and their items to the tables of the statement."""
        if not orders:
            return
        # DuckDB finds these by their Python names.
        placed = pa.Table.from_pylist(orders)  # noqa: F841
        self._con.execute(
            "insert into given.orders by name select * exclude (number), number as order_number, "
            "order_key(user_id, number) as order_id, false as is_open from placed"
        )
        if items:
            # A model that was trained without positions knows none.
            placed_items = pa.Table.from_pylist(items)  # noqa: F841
            position = "position" if self._has_positions else "null"
            self._con.execute(
                "insert into given.order_items by name select order_key(user_id, number) as "
                f"order_id, product_id, {position} as cart_position from placed_items"
            )

    @contextmanager
    def _release(self) -> Iterator[None]:
        """Attach the warehouse of the release, for no longer than needed: it keeps writers out.

        Raises:
            RestockError: the release is gone.
            BusyError: a step is writing the warehouse.
        """
        if not self._warehouse.exists():
            raise RestockError(f"{self._warehouse} does not exist: a newer release replaced it.")
        try:
            self._con.execute(f"attach {connection.quoted(self._warehouse)} as last (read_only)")
        except duckdb.IOException as error:
            raise (busy(self._warehouse) if "lock" in str(error) else error) from None
        try:
            yield
        finally:
            self._con.execute("detach last")

    @contextmanager
    def _undone(self) -> Iterator[None]:
        """Undo at the end of the context what was written in it."""
        self._con.execute("begin")
        try:
            yield
        finally:
            self._con.execute("rollback")


def _check(request: Request, known: int, newest: datetime | None, day: Day) -> None:
    """Raise a RequestError if the orders of a request cannot follow those of the release."""
    if not known and not request.orders:
        raise UnknownShopperError(
            f"there are no orders of shopper {request.user_id}. Add orders to the request."
        )
    times = [at for order in request.orders if (at := order.ordered_at)]
    if newest and times and times[0] < newest:
        raise RequestError(
            f"an order of {times[0].isoformat()} is older than the newest known order of shopper "
            f"{request.user_id}, of {newest.isoformat()}. Give only orders that are newer."
        )
    last = max(filter(None, (newest, *times)), default=None)
    if day[0] and last and day[0] < last.date():
        raise RequestError(
            f"as_of {day[0]} is before the newest order, of {last.date()}. Use that day or later."
        )


def _row(order: Order, before: datetime | None) -> dict[str, Any]:
    """Return the columns of an order that are not IDs, as models/staging has them."""
    at = order.ordered_at
    if at is None:
        return {
            "ordered_at": None,
            "order_dow": order.order_dow,
            "order_hour": order.order_hour,
            "days_since_prior_order": order.days_since_prior_order,
        }
    return {
        "ordered_at": at,
        "order_dow": at.isoweekday() % 7,
        "order_hour": at.hour if order.is_timed else None,
        "days_since_prior_order": (at.date() - before.date()).days if before else None,
    }


@lru_cache(maxsize=1)
def _load(models: Path, version: str) -> tuple[Model, list[Feature], str]:
    """Return a model, its features and their statement. Releases often share the version."""
    trained = [Feature(**feature) for feature in versions.metadata(models, version)["features"]]
    model, _ = versions.load(models, trained, version)
    return model, trained, (models / version / "features.sql").read_text()
