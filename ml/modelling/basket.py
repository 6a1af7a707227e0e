"""Which products go into a shopper's basket: ranks, top-k, and the highest expected F1.

Arrays are flat, one entry per user-product pair, and the pairs of a shopper are contiguous:
shopper ``u`` owns the rows ``offsets[u]:offsets[u + 1]``. The same layout holds in ``metrics``
and ``calibration``. Where two rows of a shopper tie, the earlier row wins.
"""

from functools import cache

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize_scalar
from scipy.special import expit, logit, logsumexp

Floats = npt.NDArray[np.floating]
Ints = npt.NDArray[np.integer]
Bools = npt.NDArray[np.bool_]


def user_of_pair(offsets: Ints) -> Ints:
    """Return the shopper's code, 0 to n_users - 1, of every pair."""
    return np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))


def rank_in_user(score: Floats, offsets: Ints) -> Ints:
    """Rank every pair among the pairs of its shopper, 1 for the highest score, without ties.

    Raises:
        ValueError: if ``offsets`` does not describe ``score``.
    """
    if offsets[0] != 0 or offsets[-1] != len(score):
        raise ValueError(
            f"offsets run from {offsets[0]} to {offsets[-1]}, but there are {len(score)} pairs: "
            "they must start at 0 and end at the number of pairs"
        )
    from ml.modelling.kernels import write_ranks

    rank = np.empty(len(score), dtype=np.int64)
    write_ranks(-score, offsets, rank)
    return rank


def top_k_basket(score: Floats, offsets: Ints, k: int) -> Bools:
    """Mark the ``k`` pairs of each shopper with the highest score (all, where there are fewer)."""
    return rank_in_user(score, offsets) <= k


def expected_f1_basket(
    probability: Floats, offsets: Ints, order_effect: float = 0.0
) -> tuple[Bools, Floats]:
    """Choose for each shopper the set of products with the highest expected F1.

    The best set is one of the top-k sets of the probabilities (Ye, Chai, Lee, Chieu 2012,
    "Optimizing F-measure: a tale of two approaches", section 3), so only n + 1 sizes are compared.
    An empty basket scores 1 against an empty order and 0 otherwise; its expected F1 is the
    probability of no reorder.

    Products are independent events given the order: some orders are large and some are a quick
    stop, which moves the log-odds of all products together, see `given_order_effect`. Each
    product's probability stays what it is.

    Args:
        probability: calibrated, 0 to 1, shape (n_pairs,).
        offsets: shape (n_users + 1,).
        order_effect: standard deviation over orders of the common shift of the log-odds; with 0
            products are independent.

    Returns:
        ``in_basket``, shape (n_pairs,), and the basket's expected F1, shape (n_users,).

    Raises:
        ValueError: if a probability is missing or outside 0 to 1.
    """
    if not np.all((probability >= 0) & (probability <= 1)):
        row = np.flatnonzero(~((probability >= 0) & (probability <= 1)))[0]
        raise ValueError(f"probability[{row}] is {probability[row]}: it must be from 0 to 1")
    from ml.modelling.kernels import write_best_sizes

    rank = rank_in_user(probability, offsets)
    start, count = offsets[:-1], np.diff(offsets)
    given, chance = given_order_effect(probability, order_effect)
    descending = np.empty((len(probability), len(chance)))
    descending[np.repeat(start, count) + rank - 1] = given.T
    nodes = _node_count(count)
    distinct, which = np.unique(nodes, return_inverse=True)
    rules = np.concatenate([_rule(int(n)) for n in distinct], axis=1)
    first = np.cumsum([0, *distinct])[which]
    size, expected = np.empty(len(count), dtype=np.int64), np.empty(len(count))
    write_best_sizes(descending, chance, offsets, rules, first, nodes, size, expected)
    return rank <= np.repeat(size, count), expected


def given_order_effect(probability: Floats, order_effect: float) -> tuple[Floats, Floats]:
    """Return every probability given each of a few kinds of order, and how likely each kind is.

    The log-odds of all products of an order shift by ``order_effect`` times a standard normal
    variable, taken at the nodes of Gauss-Hermite quadrature. A correction of each product's
    log-odds makes the mean over the kinds its probability again.

    Returns:
        Probabilities, shape (n_kinds, n_pairs), and the kinds' weights, shape (n_kinds,).
    """
    if order_effect == 0:
        return np.asarray(probability, dtype=float)[None], np.ones(1)
    x, weight = np.polynomial.hermite_e.hermegauss(7)
    weight /= weight.sum()
    # Whatever the correction, the mean is an increasing function of the corrected log-odds; so it
    # is tabulated once and read off backwards.
    corrected = np.linspace(-40, 40, 16_001)
    kinds = expit(corrected + order_effect * x[:, None])
    mean = weight @ kinds
    with np.errstate(divide="ignore"):
        wanted = np.clip(logit(np.asarray(probability, dtype=float)), -30, 30)
    at = np.interp(wanted, logit(mean), corrected)
    return expit(at + order_effect * x[:, None]), weight


def fit_order_effect(probability: Floats, label: Ints, offsets: Ints) -> float:
    """Return the order effect for the baskets of a model, 0 where it does not help.

    The effect that makes these orders likeliest is taken if its baskets have a mean F1 above that
    of independent products by more than two standard errors of the difference.

    Args:
        probability: of orders that the model was not trained on, shape (n_pairs,).
        label: 0 or 1, shape (n_pairs,).
        offsets: of the orders, shape (n_orders + 1,).
    """

    def surprise(order_effect: float) -> float:
        given, chance = given_order_effect(probability, order_effect)
        likelihood = np.log(np.clip(np.where(label == 1, given, 1 - given), 1e-12, 1))
        by_order = np.add.reduceat(likelihood, offsets[:-1], axis=1)
        return -float(logsumexp(by_order, axis=0, b=chance[:, None]).sum())

    found = minimize_scalar(surprise, bounds=(0, 3), method="bounded", options={"xatol": 0.02})
    likeliest = float(found.x)
    with_it, without = (
        f1(expected_f1_basket(probability, offsets, effect)[0], label, offsets)
        for effect in (likeliest, 0.0)
    )
    gain = with_it - without
    helps = gain.sum() > 2 * np.sqrt(len(gain)) * gain.std(ddof=1) > 0
    return likeliest if helps else 0.0


def f1(in_basket: Bools, label: Ints, offsets: Ints) -> Floats:
    """Return the F1 of basket and reorders of every shopper; two empty sets score 1."""
    user, shoppers = user_of_pair(offsets), len(offsets) - 1
    sizes = np.bincount(user, in_basket, shoppers) + np.bincount(user, label, shoppers)
    hits = np.bincount(user, in_basket * label, shoppers)
    return np.where(sizes > 0, 2 * hits / np.maximum(sizes, 1), 1.0)


def _node_count(count: Ints) -> Ints:
    """Return how many nodes integrate the polynomials of so many products.

    n nodes are exact for their degree d = 2n - 1. Their coefficients are not negative, so the
    Chebyshev coefficients fall off like those of t^d, a binomial tail: by Hoeffding's inequality
    m nodes err by at most 8 n exp(-4 m^2 / d), below 1e-14 for the m used here.
    """
    enough = np.ceil(np.sqrt(45 * np.maximum(2 * count - 1, 0)) / 2)
    return np.minimum(count, enough.astype(np.int64))


@cache
def _rule(nodes: int) -> Floats:
    """Return the nodes in (0, 1) and the weights of Gauss-Legendre quadrature, shape (2, nodes)."""
    if nodes == 0:
        return np.empty((2, 0))
    x, weight = np.polynomial.legendre.leggauss(nodes)
    return np.stack([(x + 1) / 2, weight / 2])
