"""The sessions and events of the simulated shop, drawn once the days of its shoppers are known.

A session has searches, views, cart, checkout and purchase, in this order; the cart and what follows
are in the first session of the day. A session with a cart ends before midnight, so that a purchase
is on its own day. Other sessions may run past midnight. The events show the hidden intent only
roughly.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ml.simulation.draws import Draws, Floats, Ints
from ml.simulation.shop import COLD, Days, Shoppers

EVENT_TYPES = ("search", "view", "cart", "remove", "checkout", "purchase")
SEARCH, VIEW, CART, REMOVE, CHECKOUT, PURCHASE = range(len(EVENT_TYPES))

# By intent: the chance of a second session, mean views after the first view of a session, and the
# chance that a cart gets to the checkout without a purchase.
SECOND_SESSION = np.array([0.0, 0.1, 0.3])
MORE_VIEWS = np.array([0.2, 1.4, 4.5])
CHECKOUTS = np.array([0.0, 0.2, 0.45])
COLD_VISITS = 0.6  # chance of a session on a cold day, times the shopper's `visits`
SEARCHES = 0.25
BUYERS_CHECKOUTS = 0.97  # the other purchases are made with one click
MOST_VIEWS = 20

ROBOT_DAYS = 0.25  # share of days on which a robot comes
ROBOT_VIEWS, MOST_ROBOT_VIEWS = 400, 5_000  # median and limit of a day

DAY_SECONDS = 86_400
SECONDS_BETWEEN = 75  # mean, from one event of a session to the next
LATE, LATEST_SECONDS = 0.02, 2 * DAY_SECONDS
DOUBLED = 0.002
FAVOURITES = 30  # half of the products that a shopper looks at are among these


@dataclass(frozen=True)
class Sessions:
    """The sessions of a block: one value each, except that `counts` has a row per event type."""

    user_id: Ints
    day: Ints
    number: Ints  # among the shopper's sessions of the day, from 0
    is_robot: npt.NDArray[np.bool_]
    usual_hour: Floats
    counts: Ints

    @classmethod
    def draw(cls, draws: Draws, shoppers: Shoppers, days: Days) -> "Sessions":
        """Draw the sessions of all days."""
        day = np.arange(len(days.intent))[:, np.newaxis]
        user_id = shoppers.user_id[np.newaxis, :]
        comes = draws.uniform("visit", user_id, day) < COLD_VISITS * shoppers.visits
        comes = (comes | (days.intent > COLD) | (days.carts > 0)) & days.is_active
        comes |= shoppers.is_robot & (draws.uniform("robot", user_id, day) < ROBOT_DAYS)
        has_second = draws.uniform("second", user_id, day) < SECOND_SESSION[days.intent]

        per_day = comes * (1 + has_second)
        at = np.nonzero(per_day)
        repeats = per_day[at]
        at = np.repeat(at[0], repeats), np.repeat(at[1], repeats)
        number = _numbered(repeats)
        user_id, is_robot = shoppers.user_id[at[1]], shoppers.is_robot[at[1]]
        key, is_first, intent = (user_id, at[0], number), number == 0, days.intent[at]

        bought = is_first & days.bought[at]
        carts, removes = is_first * days.carts[at], is_first * days.removes[at]
        views = 1 + MORE_VIEWS[intent] * draws.exponential("views", *key)
        views = np.maximum(np.minimum(views, MOST_VIEWS), carts)
        robot_views = ROBOT_VIEWS * np.exp(0.35 * draws.logistic("robot views", *key))
        robot_views = np.minimum(robot_views, MOST_ROBOT_VIEWS)
        checkout_chance = np.where(bought, BUYERS_CHECKOUTS, (carts > removes) * CHECKOUTS[intent])
        counts: dict[int, npt.NDArray[Any]] = {
            SEARCH: (draws.uniform("search", *key) < SEARCHES) & ~is_robot,
            VIEW: np.where(is_robot, robot_views, views),
            CART: carts,
            REMOVE: removes,
            CHECKOUT: draws.uniform("checkout", *key) < checkout_chance,
            PURCHASE: bought,
        }
        table = np.stack([counts[kind].astype(np.int64) for kind in range(len(EVENT_TYPES))])
        return cls(user_id, at[0], number, is_robot, shoppers.hour[at[1]], table)


@dataclass(frozen=True)
class Events:
    """The events of a block: one value each. Times are seconds after the log's first midnight."""

    user_id: Ints
    occurred_at: Ints
    event_type: Ints
    event_id: Ints
    product_id: Ints  # 0 if the event has none
    session_id: Ints
    value: Ints  # in cents; 0 if the event has none
    received_at: Ints
    quantity: Ints
    ordered_at: Ints  # of a cart event whose product is bought in this session; else -1

    @classmethod
    def draw(cls, draws: Draws, sessions: Sessions, products: int) -> "Events":
        """Draw the events of all sessions, each once and whenever it is received."""
        per_session = sessions.counts.sum(axis=0)
        at, position = np.repeat(np.arange(len(per_session)), per_session), _numbered(per_session)
        ends = sessions.counts.cumsum(axis=0)
        event_type = np.zeros(len(at), np.int64)
        for end in ends[:-1]:
            event_type += position >= end[at]
        item = position - (ends - sessions.counts)[event_type, at]
        session_id = (1_000 * sessions.user_id + sessions.day) * 10 + sessions.number
        event_id = 10_000 * session_id[at] + position

        # The cart takes the first products viewed; the removes and the order go by the cart.
        is_view, is_cart = event_type == VIEW, event_type == CART
        has_product = is_view | is_cart | (event_type == REMOVE)
        user_id = sessions.user_id[at]
        product_id = _products(draws, user_id, session_id[at], item, products)
        quantity = 1 + (draws.uniform("quantity", session_id[at], item) < 0.15)
        amount = np.where(has_product, price_cents(draws, product_id) * quantity, 0)
        is_kept = is_cart & (item >= sessions.counts[REMOVE][at])
        total = np.bincount(at, amount * is_kept, len(per_session)).astype(np.int64)
        has_total = (event_type == CHECKOUT) | (event_type == PURCHASE)
        value = np.where(has_total, total[at], amount * ~is_view)

        occurred_at = _times(draws, sessions, at, event_id, per_session)
        late = 1 + np.floor(LATEST_SECONDS * draws.uniform("late by", event_id)).astype(np.int64)
        is_late = (draws.uniform("late", event_id) < LATE) & (event_type != PURCHASE)
        last_of_session = per_session.cumsum() - 1
        is_bought = is_kept & (sessions.counts[PURCHASE][at] > 0)
        return cls(
            user_id,
            occurred_at,
            event_type,
            event_id,
            np.where(has_product, product_id, 0),
            session_id[at],
            value,
            occurred_at + is_late * late,
            quantity,
            np.where(is_bought, occurred_at[last_of_session][at], -1),
        )


def price_cents(draws: Draws, product_id: Ints) -> Ints:
    """Return the price of each product, such as 1,299."""
    whole = np.floor(20 * np.exp(0.5 * draws.logistic("price", product_id)))
    return 100 * whole.astype(np.int64) + 99


def is_doubled(draws: Draws, event_id: Ints) -> npt.NDArray[np.bool_]:
    """Return whether an event is in the log twice."""
    return draws.uniform("doubled", event_id) < DOUBLED


def _products(draws: Draws, user_id: Ints, session_id: Ints, item: Ints, products: int) -> Ints:
    """Draw products: favourites of the shopper or any, in both cases mostly popular ones."""
    slot = np.floor(FAVOURITES * draws.uniform("slot", session_id, item) ** 2).astype(np.int64)
    is_favourite = draws.uniform("is favourite", session_id, item) < 0.5
    u = np.where(
        is_favourite,
        draws.uniform("favourite", user_id, slot),
        draws.uniform("product", session_id, item),
    )
    # As in the simulated orders, the product of rank i has a share of about 1 / (i + 10).
    rank = np.floor(10 * (products / 10 + 1) ** u - 10).astype(np.int64)
    return rank * 2_654_435_761 % products + 1


def _times(draws: Draws, sessions: Sessions, at: Ints, event_id: Ints, per_session: Ints) -> Ints:
    """Draw the time of each event: the session's start, then a gap before each further event."""
    first = per_session.cumsum() - per_session
    mean_gap = np.where(sessions.is_robot, DAY_SECONDS / 2 / per_session, SECONDS_BETWEEN)
    gaps = 1 + np.floor(mean_gap[at] * draws.exponential("gap", event_id)).astype(np.int64)
    gaps[first] = 0
    elapsed = gaps.cumsum()
    elapsed -= elapsed[first][at]
    length = elapsed[first + per_session - 1]

    spread = draws.logistic("hour", sessions.user_id, sessions.day, sessions.number)
    start = np.floor((sessions.usual_hour + 1.5 * spread) % 24 * 3_600).astype(np.int64)
    latest = DAY_SECONDS - 1 - np.where(sessions.counts[CART] > 0, length, 0)
    return (DAY_SECONDS * sessions.day + np.minimum(start, latest))[at] + elapsed


def _numbered(repeats: Ints) -> Ints:
    """Return the place of each row among the copies that `numpy.repeat` makes of a row."""
    first = repeats.cumsum() - repeats
    return np.arange(repeats.sum()) - np.repeat(first, repeats)
