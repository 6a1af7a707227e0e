"""Baselines for daily purchase propensities: what a shopper's own past says without a model.

Columns are those of ``purchase_examples``, each of shape (n_rows,), a row being a shopper and a
midnight. The rates and BG/NBD are probabilities; recency and the intent score only rank.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize
from scipy.special import betaln, expit, gammaln

from ml.modelling.basket import Floats, Ints, user_of_pair

SIMPLE: dict[str, dict[str, float]] = {
    "own_rate": {"purchase_91_days_rate": 1},
    "weekday_rate": {"dow_13_weeks_rate": 1},
}
"""Baselines that need no fit: weights of columns. A calibrator takes the place of the pull towards
all shoppers' rates."""
PROBABILITIES = ("base_rate", "own_rate", "weekday_rate", "bg_nbd")
_RATE_DAYS = 91


@dataclass(frozen=True)
class BetaBinomial:
    """Success rates that vary between shoppers as a beta distribution with parameters a and b."""

    a: float
    b: float

    @classmethod
    def fit(cls, successes: Floats, trials: Floats) -> "BetaBinomial":
        """Fit by maximum likelihood to one count per shopper, each of shape (n_users,)."""

        def log_likelihood(parameters: Floats) -> Floats:
            a, b = parameters
            return betaln(a + successes, b + trials - successes) - betaln(a, b)

        return cls(*_maximise(log_likelihood, 2))

    def probability(self, successes: Floats, trials: Floats, further: int = 1) -> Floats:
        """Return the probability of at least one success in ``further`` trials."""
        a, b = self.a + successes, self.b + trials - successes
        # All of them fail with the probability B(a, b + further) / B(a, b).
        return -np.expm1(betaln(a, b + further) - betaln(a, b))


@dataclass(frozen=True)
class BgNbd:
    """The BG/NBD model of Fader, Hardie, Lee 2005, "'Counting your customers' the easy way".

    A shopper buys at random times with rate lambda per day until the shopper drops out, which
    happens after a purchase with probability p. Between shoppers, lambda is gamma distributed
    (shape ``r``, rate ``alpha`` in days), and p is beta distributed (``a``, ``b``).

    In all methods, each argument has shape (n_users,), times are in days from the first purchase:

    - ``x``: number of purchases after the first.
    - ``t_x``: time of the last purchase, 0 if ``x`` is 0.
    - ``T``: time of the midnight from which the model looks forward.
    """

    r: float
    alpha: float
    a: float
    b: float

    @classmethod
    def fit(cls, x: Floats, t_x: Floats, T: Floats) -> "BgNbd":
        """Fit by maximum likelihood."""
        if len(x) == 0:
            raise ValueError("BG/NBD needs a shopper with a purchase: none was given")
        scale = float(np.mean(T))  # so that alpha is of the size of the other parameters

        def log_likelihood(parameters: Floats) -> Floats:
            return cls(*parameters).log_likelihood(x, t_x / scale, T / scale)

        r, alpha, a, b = _maximise(log_likelihood, 4)
        return cls(r, alpha * scale, a, b)

    def log_likelihood(self, x: Floats, t_x: Floats, T: Floats) -> Floats:
        """Return the log-likelihood of each shopper, equation 6 of the paper.

        The likelihood is a sum of two terms, one for shoppers who are still alive and one for
        those who have dropped out. `_log_odds_dropped_out` gives the ratio of the two.
        """
        alive = (
            gammaln(self.r + x)
            - gammaln(self.r)
            + self.r * np.log(self.alpha)
            - (self.r + x) * np.log(self.alpha + T)
            + betaln(self.a, self.b + x)
            - betaln(self.a, self.b)
        )
        return alive + np.logaddexp(0, self._log_odds_dropped_out(x, t_x, T))

    def alive(self, x: Floats, t_x: Floats, T: Floats) -> Floats:
        """Return the probability that a shopper has not dropped out by ``T``."""
        return expit(-self._log_odds_dropped_out(x, t_x, T))

    def probability(self, x: Floats, t_x: Floats, T: Floats, days: float = 1) -> Floats:
        """Return the probability of at least one purchase in the ``days`` after ``T``.

        It is exact: a shopper drops out only after a purchase, so the first one in the window
        depends on lambda alone. Given that the shopper is alive, lambda has a gamma distribution
        with shape r + x and rate alpha + T.
        """
        none = -(self.r + x) * np.log1p(days / (self.alpha + T))
        return self.alive(x, t_x, T) * -np.expm1(none)

    def _log_odds_dropped_out(self, x: Floats, t_x: Floats, T: Floats) -> Floats:
        """Return the log-odds of having dropped out; nobody drops out before ``x`` is 1."""
        some = np.maximum(x, 1)
        odds = np.log(self.a / (self.b + some - 1)) + (self.r + x) * np.log(
            (self.alpha + T) / (self.alpha + t_x)
        )
        return np.where(x > 0, odds, -np.inf)


@dataclass(frozen=True)
class PurchaseBaselines:
    """Baselines with everything that is learned from training rows.

    Attributes:
        days: length of the window in days.
        base_rate: share of training rows with a purchase in the window.
        first_rate: the same, among rows of shoppers who have not bought yet.
        own_rate: how the shoppers' daily rates vary.
        bg_nbd: fitted to the shoppers who have bought.
    """

    days: int
    base_rate: float
    first_rate: float
    own_rate: BetaBinomial
    bg_nbd: BgNbd

    @classmethod
    def fit(
        cls, columns: Mapping[str, Floats], label: Ints, offsets: Ints, *, days: int = 1
    ) -> "PurchaseBaselines":
        """Fit to training rows, none of which may have been sampled by label.

        The rates are means over all rows. The two models are fitted to each shopper's newest row,
        which contains the past of the others.
        """
        newest = np.lexsort((columns["tenure_days"], user_of_pair(offsets)))[offsets[1:] - 1]
        bought = columns["purchase_count"] > 0
        base_rate = float(label.mean())
        return cls(
            days=days,
            base_rate=base_rate,
            first_rate=base_rate if bought.all() else float(label[~bought].mean()),
            own_rate=BetaBinomial.fit(*(c[newest] for c in _recent(columns))),
            bg_nbd=BgNbd.fit(*(c[newest[bought[newest]]] for c in _times(columns))),
        )

    def scores(
        self, columns: Mapping[str, Floats], intent_weights: Mapping[str, float]
    ) -> dict[str, Floats]:
        """Compute every baseline, each of shape (n_rows,); `PROBABILITIES` lists the probabilities.

        - ``base_rate``: the share of training rows with a purchase.
        - ``own_rate``: the shopper's rate of the last 91 days, pulled towards all shoppers' rates
          by a beta-binomial model.
        - ``weekday_rate``: the shopper's rate on the same day of the week in 13 weeks, pulled
          towards the shopper's own rate. Only for a window of one day.
        - ``recency``: minus the days since the last purchase.
        - ``intent_score``: the sum of recent events, weighted by ``intent_weights``.
        - ``bg_nbd``: see `BgNbd`. A shopper who has not bought yet gets ``first_rate``.
        """
        bought = columns["purchase_count"] > 0
        result = {
            "base_rate": np.full(len(bought), self.base_rate),
            "own_rate": self.own_rate.probability(*_recent(columns), self.days),
            "recency": np.where(bought, -columns["days_since_purchase"], -np.inf),
            "intent_score": intent_score(columns, intent_weights),
            "bg_nbd": np.where(
                bought, self.bg_nbd.probability(*_times(columns), self.days), self.first_rate
            ),
        }
        if self.days == 1:
            result["weekday_rate"] = np.asarray(columns["dow_13_weeks_rate"], dtype=float)
        return result


def intent_score(columns: Mapping[str, Floats], weights: Mapping[str, float]) -> Floats:
    """Add up counts of recent events; a missing count is 0.

    Args:
        columns: counts by name, each of shape (n_rows,).
        weights: points per event for every column to include.
    """
    points = [weight * np.nan_to_num(columns[name]) for name, weight in weights.items()]
    return np.sum(points, axis=0, dtype=float)


def _recent(columns: Mapping[str, Floats]) -> tuple[Floats, Floats]:
    """Return purchase days within 91 days, and how many of these days the shopper was known."""
    trials = np.minimum(columns["tenure_days"], _RATE_DAYS)
    return np.asarray(columns["purchase_91_days_count"], dtype=float), trials.astype(float)


def _times(columns: Mapping[str, Floats]) -> tuple[Floats, Floats, Floats]:
    """Return ``x``, ``t_x`` and ``T`` of `BgNbd`; a shopper without a purchase has zeros."""
    names = ("purchase_count", "days_since_purchase", "days_since_first_purchase")
    count, last, T = (np.nan_to_num(np.asarray(columns[name], dtype=float)) for name in names)
    return np.maximum(count - 1, 0), T - last, T


def _maximise(log_likelihood: Callable[[Floats], Floats], parameters: int) -> list[float]:
    """Return the positive parameters with the highest mean log-likelihood.

    The search is over their logarithms, from 1 and within exp(-10) to exp(10). The bounds matter
    where the data do not limit a parameter, as if all shoppers have the same rate.
    """
    found = minimize(
        lambda logs: -np.mean(log_likelihood(np.exp(logs))),
        np.zeros(parameters),
        method="L-BFGS-B",
        bounds=[(-10, 10)] * parameters,
        options={"ftol": 1e-12, "gtol": 1e-7},
    )
    return [float(value) for value in np.exp(found.x)]
