"""Choose the products in a shopper's basket: by rank, as a top k, or by highest expected F1.

Arrays are flat, with one entry per pair, and the pairs of a shopper are contiguous: shopper ``u``
owns the rows ``offsets[u]:offsets[u + 1]``. `metrics` and `calibration` use the same layout. If
two rows of a shopper tie, the earlier row wins.
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
    """Return the shopper code of every pair, 0 to n_users - 1, shape (n_pairs,)."""
    return np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))


def rank_in_user(score: Floats, offsets: Ints) -> Ints:
    """Rank the pairs of each shopper, 1 for the highest score, without ties.

    Raises:
        ValueError: if ``offsets`` does not start at 0 or does not end at the number of pairs.
    """
    if offsets[0] != 0 or offsets[-1] != len(score):
        raise ValueError(
            f"offsets run from {offsets[0]} to {offsets[-1]}, but there are {len(score)} pairs: "
            "start offsets at 0 and end them at the number of pairs"
        )
    from ml.modelling.kernels import write_ranks

    rank = np.empty(len(score), dtype=np.int64)
    write_ranks(-score, offsets, rank)
    return rank


def top_k_basket(score: Floats, offsets: Ints, k: int) -> Bools:
    """Mark the ``k`` highest-scoring pairs of each shopper, or all of them if there are fewer."""
    return rank_in_user(score, offsets) <= k


def expected_f1_basket(
    probability: Floats, offsets: Ints, order_effect: float = 0.0
) -> tuple[Bools, Floats]:
    """Choose the set of products with the highest expected F1 for each shopper.

    The best set consists of the k most likely products for some k (Ye, Chai, Lee, Chieu 2012,
    "Optimizing F-measure: a tale of two approaches", section 3), so only n + 1 sizes are compared.
    An empty basket scores 1 if nothing is bought again and 0 otherwise; its expected F1 is the
    probability that nothing is bought again.

    Some orders are large and some are a quick stop. This order effect shifts the log-odds of all
    products together, see `given_order_effect`; given the order, products are independent. The
    shift leaves the probability of each product unchanged.

    Args:
        probability: calibrated, 0 to 1, shape (n_pairs,).
        offsets: shape (n_users + 1,).
        order_effect: standard deviation of the shift in log-odds across orders; 0 makes products
            independent.

    Returns:
        ``in_basket``, shape (n_pairs,), and the expected F1 of each basket, shape (n_users,).

    Raises:
        ValueError: if a probability is missing or outside 0 to 1.
    """
    if not np.all((probability >= 0) & (probability <= 1)):
        row = np.flatnonzero(~((probability >= 0) & (probability <= 1)))[0]
        raise ValueError(
            f"probability[{row}] is {probability[row]}: probabilities must be from 0 to 1"
        )
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
    """Return every probability given each kind of order, and the probability of each kind.

    In an order, the log-odds of all products shift by ``order_effect`` times a standard normal
    variable. The kinds of order are the nodes of Gauss-Hermite quadrature over that variable. Each
    product's log-odds are corrected so that the mean over the kinds equals its probability.

    Returns:
        Probabilities, shape (n_kinds, n_pairs), and the weight of each kind, shape (n_kinds,).
    """
    if order_effect == 0:
        return np.asarray(probability, dtype=float)[None], np.ones(1)
    x, weight = np.polynomial.hermite_e.hermegauss(7)
    weight /= weight.sum()
    # The mean increases with the corrected log-odds, so one table, read in reverse, gives the
    # correction of every product.
    corrected = np.linspace(-40, 40, 16_001)
    kinds = expit(corrected + order_effect * x[:, None])
    mean = weight @ kinds
    with np.errstate(divide="ignore"):
        wanted = np.clip(logit(np.asarray(probability, dtype=float)), -30, 30)
    at = np.interp(wanted, logit(mean), corrected)
    return expit(at + order_effect * x[:, None]), weight


def fit_order_effect(probability: Floats, label: Ints, offsets: Ints) -> float:
    """Return the order effect to use for a model's baskets, or 0 if none helps.

    The maximum-likelihood effect is used only if the mean F1 of its baskets exceeds that of
    independent products by more than two standard errors of the difference.

    Args:
        probability: for orders that the model was not trained on, shape (n_pairs,).
        label: 0 or 1, shape (n_pairs,).
        offsets: rows of each order, shape (n_orders + 1,).
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


def of_known_size(probability: Floats, label: Ints, offsets: Ints) -> Floats:
    """Return the probabilities, told how many products each shopper buys again, but not which.

    The log-odds of a shopper's products shift together, so that the probabilities add up to the
    number of products bought again. No forecast can know that number: the result says how much of
    a model's loss is the size of the order.

    Args:
        probability: strictly between 0 and 1, shape (n_pairs,).
        label: 0 or 1, shape (n_pairs,).
        offsets: shape (n_users + 1,).
    """
    user = user_of_pair(offsets)
    size = np.bincount(user, label, minlength=len(offsets) - 1)
    odds = logit(probability)
    # The sum grows with the shift. Log-odds beyond 40 are 0 or 1, so halving reaches every sum.
    low, high = np.full(len(size), -80.0), np.full(len(size), 80.0)
    for _ in range(60):
        shift = (low + high) / 2
        is_small = np.bincount(user, expit(odds + shift[user]), minlength=len(size)) < size
        low, high = np.where(is_small, shift, low), np.where(is_small, high, shift)
    return expit(odds + shift[user])


def f1(in_basket: Bools, label: Ints, offsets: Ints) -> Floats:
    """Return each shopper's F1, shape (n_users,).

    F1 compares the basket with the products bought again; two empty sets score 1.
    """
    user, shoppers = user_of_pair(offsets), len(offsets) - 1
    sizes = np.bincount(user, in_basket, shoppers) + np.bincount(user, label, shoppers)
    hits = np.bincount(user, in_basket * label, shoppers)
    return np.where(sizes > 0, 2 * hits / np.maximum(sizes, 1), 1.0)


def _node_count(count: Ints) -> Ints:
    """Return the number of quadrature nodes for each number of products.

    The integrand for n products is a polynomial of degree d = 2n - 1, which n nodes integrate
    exactly. Its coefficients are not negative, so its Chebyshev coefficients fall off like those
    of t^d, a binomial tail. By Hoeffding's inequality, m nodes err by at most
    8 n exp(-4 m^2 / d), which is below 1e-14 for the m used here.
    """
    enough = np.ceil(np.sqrt(45 * np.maximum(2 * count - 1, 0)) / 2)
    return np.minimum(count, enough.astype(np.int64))


@cache
def _rule(nodes: int) -> Floats:
    """Return the nodes in (0, 1) and weights of Gauss-Legendre quadrature, shape (2, nodes)."""
    if nodes == 0:
        return np.empty((2, 0))
    x, weight = np.polynomial.legendre.leggauss(nodes)
    return np.stack([(x + 1) / 2, weight / 2])
