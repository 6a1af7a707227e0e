"""The random process behind the simulated shop: who is in the mood to buy, and who buys.

Each shopper has a hidden intent, which moves from day to day as a Markov chain: cold, browsing or
hot. The odds of a hot day are those of a renewal process counted in days since the last purchase,
times the effects of yesterday's intent, an open cart, the shopper's weekday and the calendar. The
gap between purchases has the log-logistic survival function S(g) = 1 / (1 + (g / pace) ** rhythm),
so the odds of its end on day g are S(g - 1) / S(g) - 1.

A shopper buys at most once a day, with a chance that depends on the day's intent. At midnight,
before anything of the day is drawn, the chances q of a hot and a browsing day are known, so the
true probability of a purchase is a sum over the three intents:

    p = buyer * (0.002 * (1 - q_browsing - q_hot) + 0.02 * q_browsing + 0.40 * q_hot)

The sum is exact: it knows the hidden intent and the calendar of promotions, and nothing later.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ml.simulation.draws import Draws, Floats, Ints

COLD, BROWSING, HOT = range(3)
# By today's intent: the chance of a purchase, for a shopper whose `buyer` is 1, and of a cart.
BUYS = np.array([0.002, 0.02, 0.40])
CARTS = np.array([0.0, 0.04, 0.85])
# By yesterday's intent, in logits.
MORE_HOT = np.array([-0.8, 0.6, 2.3])
MORE_BROWSING = np.array([0.0, 1.1, 0.9])
OPEN_CART = 0.8
CART_LASTS = 0.75  # from one day to the next

JOINING_DAYS = 90  # three shoppers in ten join in these days; the others were there before
ROBOT_EVERY = 1_000  # one id in this many is a robot


@dataclass(frozen=True)
class Shoppers:
    """A block of shoppers and their lasting traits: one value each, in the order of `user_id`."""

    user_id: Ints
    is_robot: npt.NDArray[np.bool_]
    joined: Ints  # day; -1 is before the log
    buyer: Floats  # multiplies the chance of a purchase
    pace: Floats  # median gap in days between hot spells
    rhythm: Floats  # how regular the gaps are
    weekday: Ints  # favourite; day 0 is a Monday
    weekday_effect: Floats  # logits
    visits: Floats  # chance of a browsing day after a cold one
    hour: Floats  # usual hour of the day

    @classmethod
    def draw(cls, draws: Draws, user_id: Ints) -> "Shoppers":
        """Draw the traits of these shoppers."""
        is_robot = user_id % ROBOT_EVERY == ROBOT_EVERY // 2
        is_new = draws.uniform("is new", user_id) < 0.3
        first_day = (JOINING_DAYS * draws.uniform("joined", user_id)).astype(np.int64)
        seldom = draws.uniform("seldom", user_id) < 0.45
        keen = draws.uniform("buyer", user_id)
        return cls(
            user_id,
            is_robot,
            joined=np.where(is_new, first_day, -1),
            buyer=np.where(is_robot, 0, np.where(seldom, 0.15 * keen, 0.6 + 0.4 * keen)),
            pace=14 * np.exp(0.25 * draws.logistic("pace", user_id)),
            rhythm=1 + 2 * draws.uniform("rhythm", user_id),
            weekday=(7 * draws.uniform("weekday", user_id)).astype(np.int64),
            weekday_effect=0.7 * draws.exponential("weekday effect", user_id),
            visits=0.25 * draws.uniform("visits", user_id) ** 2 + 0.01,
            hour=12 + 11 * draws.uniform("hour", user_id),
        )


@dataclass(frozen=True)
class Days:
    """What happens on each day of a block of shoppers: arrays of days by shoppers."""

    is_active: npt.NDArray[np.bool_]  # false before the shopper joins
    intent: npt.NDArray[np.int8]
    probability: Floats  # of a purchase, at the day's first midnight; 0 before the shopper joins
    bought: npt.NDArray[np.bool_]
    carts: npt.NDArray[np.int8]  # products put into the cart
    removes: npt.NDArray[np.int8]  # of these, products taken out again


def calendar_effect(draws: Draws, days: int) -> Floats:
    """Return the effect of each day on everyone, in logits: weekend, season and promotions."""
    day = np.arange(days)
    weekend = 0.15 * (day % 7 >= 5)
    season = 0.15 * np.sin(2 * np.pi * day / 365)
    promotion = 0.4 * (draws.uniform("promotion", day // 2) < 0.06)
    return weekend + season + promotion


def live(draws: Draws, shoppers: Shoppers, days: int) -> Days:
    """Run the process for a number of days."""
    user_id, size = shoppers.user_id, (days, len(shoppers.user_id))
    calendar = calendar_effect(draws, days)
    browsing_odds = shoppers.visits / (1 - shoppers.visits)
    past = Days(
        np.zeros(size, bool),
        np.zeros(size, np.int8),
        np.zeros(size),
        np.zeros(size, bool),
        np.zeros(size, np.int8),
        np.zeros(size, np.int8),
    )
    intent: npt.NDArray[Any] = np.zeros(len(user_id), np.int8)
    has_cart: npt.NDArray[Any] = np.zeros(len(user_id), bool)
    # On day 0, a purchase may be long ago.
    gap = 1 + np.floor(2 * shoppers.pace * draws.uniform("gap", user_id))
    grown = ((gap - 1) / shoppers.pace) ** shoppers.rhythm
    for day in range(days):
        is_active = (shoppers.joined <= day) & ~shoppers.is_robot
        joins_today = shoppers.joined == day
        key = np.array([day])

        def chance(purpose: str, key: Ints = key) -> Floats:
            return draws.uniform(purpose, user_id, key)

        grown_before, grown = grown, (gap / shoppers.pace) ** shoppers.rhythm
        favourite = shoppers.weekday_effect * ((shoppers.weekday == day % 7) - 1 / 7)
        hot = _chance(
            (grown - grown_before) / (1 + grown_before),
            MORE_HOT[intent] + OPEN_CART * has_cart + favourite + calendar[day],
        )
        browsing = (1 - hot) * _chance(browsing_odds, MORE_BROWSING[intent] + calendar[day])
        p = shoppers.buyer * (
            BUYS[COLD] * (1 - browsing - hot) + BUYS[BROWSING] * browsing + BUYS[HOT] * hot
        )

        mood = chance("intent")
        intent = np.where(mood < hot, HOT, np.where(mood < hot + browsing, BROWSING, COLD))
        intent = np.where(joins_today, BROWSING, np.where(is_active, intent, COLD)).astype(np.int8)
        # The day a shopper joins is a visit without a purchase, so it needs no probability.
        may_buy = is_active & ~joins_today
        bought = may_buy & (chance("buys") < shoppers.buyer * BUYS[intent])
        carts = (is_active & (chance("carts") < CARTS[intent])) | bought
        carts = carts * (1 + np.floor(1.2 * draws.exponential("cart size", user_id, key)))
        carts = np.minimum(carts, 9).astype(np.int8)
        removes = (chance("removes") < 0.2) & (carts > bought)

        has_cart = ((has_cart & (chance("cart lasts") < CART_LASTS)) | (carts > removes)) & ~bought
        gap = np.where(bought, 1, gap + 1)
        grown = np.where(bought, 0, grown)

        past.is_active[day] = is_active
        past.intent[day] = intent
        past.probability[day] = np.where(may_buy, p, 0)
        past.bought[day] = bought
        past.carts[day] = carts
        past.removes[day] = removes
    return past


def _chance(odds: Floats, effect: Floats) -> Floats:
    """Return the probability that belongs to odds, moved by an effect in logits."""
    odds = odds * np.exp(effect)
    return odds / (1 + odds)
