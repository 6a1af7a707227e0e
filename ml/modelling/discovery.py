"""Discovery: the products that a shopper has never bought and is likeliest to buy next.

EASE (Steck 2019, "Embarrassingly shallow autoencoders for sparse data") predicts whether a shopper
buys a product from the other products that the shopper bought, by one ridge regression for each
product. All of them together have a closed form. It learns from what shoppers bought so far and
from no label; labels only calibrate its probabilities.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from scipy.linalg import inv
from scipy.sparse import csr_matrix
from threadpoolctl import threadpool_limits

from ml.modelling import calibration, metrics
from ml.modelling.basket import Bools, Floats, Ints, user_of_pair
from ml.modelling.calibration import Calibrator
from ml.modelling.metrics import FEW_SHOPPERS, Estimate, Ratio, estimate, resample

LISTED = 10
"""Products on the list of a shopper, or fewer if the shopper has bought all others."""
MOST_PRODUCTS = 3_000
"""Products that can be listed: those that most shoppers bought. Memory grows with their square."""
RIDGE = 500.0
"""The penalty of the regressions (lambda), as in the paper."""
POPULARITY = 0.2
"""Weight of the share of shoppers who bought the product lately, beside the regressions."""
RECENT_ORDERS = 5
"""A purchase counts as recent within this many orders of its shopper."""
CHUNK = 1_000
"""Shoppers that are scored at a time, which bounds the memory."""

Score = Callable[[csr_matrix], npt.NDArray[np.float32]]
"""Scores every product for some shoppers: from the products that they bought, shape (n_users,
n_products), to scores of the same shape, higher for likelier products."""


@dataclass(frozen=True)
class Histories:
    """The products that each shopper has bought, those of a shopper contiguous.

    Attributes:
        product_id: product of each pair, shape (n_pairs,).
        offsets: shape (n_users + 1,).
        orders: number of orders that each shopper has placed, shape (n_users,).
    """

    product_id: pa.ChunkedArray
    offsets: Ints
    orders: Ints

    def of(self, shoppers: Bools) -> "Histories":
        """Return the histories of the shoppers in a mask of shape (n_users,)."""
        rows = np.repeat(shoppers, np.diff(self.offsets))
        return Histories(
            self.product_id.filter(pa.array(rows)),
            np.concatenate([[0], np.cumsum(np.diff(self.offsets)[shoppers])]),
            self.orders[shoppers],
        )


@dataclass(frozen=True)
class FirstPurchases:
    """The products of one order of each shopper that the shopper had never bought before.

    Attributes:
        user: shopper of each product, 0 to n_users - 1, shape (n,).
        product_id: the products, shape (n,).
    """

    user: Ints
    product_id: pa.ChunkedArray

    def of(self, shoppers: Bools) -> "FirstPurchases":
        """Return those of the shoppers in a mask of shape (n_users,), which are counted anew."""
        rows = shoppers[self.user]
        return FirstPurchases(
            (np.cumsum(shoppers) - 1)[self.user[rows]], self.product_id.filter(pa.array(rows))
        )


@dataclass(frozen=True)
class Lists:
    """The list of each shopper, best first; the rows of a shopper are contiguous.

    Attributes:
        product: product of each row, its place in `Discovery.product_id`, shape (n_rows,).
        share: score of the product, as a share of the scores of all products that the shopper has
            not bought, 0 to 1, shape (n_rows,).
        offsets: shape (n_users + 1,).
    """

    product: Ints
    share: Floats
    offsets: Ints

    @property
    def rank(self) -> Ints:
        """The place of each row on its list, from 1, shape (n_rows,)."""
        first = np.repeat(self.offsets[:-1], np.diff(self.offsets))
        return np.arange(len(self.product)) - first + 1


@dataclass(frozen=True)
class Discovery:
    """What lists depend on.

    Attributes:
        product_id: products that can be listed, those that most shoppers bought first, shape (n,).
        weights: what having bought the product of a row adds to the score of that of a column,
            shape (n, n). Half the precision changes no list that matters, and halves the file.
        recent_share: share of shoppers who bought the product lately, shape (n,).
        calibrator: corrects the probabilities.
    """

    product_id: pa.Array = field(default_factory=lambda: pa.array([], pa.int64()))
    weights: npt.NDArray[np.float16] = field(default_factory=lambda: np.empty((0, 0), np.float16))
    recent_share: npt.NDArray[np.float32] = field(default_factory=lambda: np.empty(0, np.float32))
    calibrator: Calibrator = field(default_factory=Calibrator)

    def bought(self, histories: Histories) -> csr_matrix:
        """Return which of the products each shopper has bought, shape (n_users, n)."""
        return _matrix(
            user_of_pair(histories.offsets),
            _places(histories.product_id, self.product_id),
            (len(histories.orders), len(self.product_id)),
        )

    @property
    def score(self) -> Score:
        """The scores of EASE with a little popularity."""
        weights = self.weights.astype(np.float32)
        popularity = np.float32(POPULARITY) * self.recent_share
        return lambda bought: bought @ weights + popularity

    def raw_probability(self, histories: Histories, lists: Lists) -> Floats:
        """Return the chance, before calibration, that the next order has a listed product.

        A shopper's mean number of new products an order is divided among all products by their
        scores. The chance is that of at least one in a Poisson variable with this mean.
        """
        new_products = np.diff(histories.offsets) / histories.orders
        return -np.expm1(-np.repeat(new_products, np.diff(lists.offsets)) * lists.share)

    def probability(self, histories: Histories, lists: Lists) -> Floats:
        """Return the calibrated probability that the next order has a listed product."""
        return self.calibrator.transform(self.raw_probability(histories, lists))

    def calibrated(self, histories: Histories, first: FirstPurchases) -> "Discovery":
        """Return the same with a calibrator fitted on the first purchases of these shoppers."""
        lists = top(self.bought(histories), self.score)
        raw = self.raw_probability(histories, lists)
        label = self.labels(lists, first)
        return replace(self, calibrator=calibration.fit(raw, label, lists.offsets))

    def labels(self, lists: Lists, first: FirstPurchases) -> Ints:
        """Return 1 for each listed product that is among the first purchases, else 0."""
        places = _places(first.product_id, self.product_id)
        found = _matrix(first.user, places, (len(lists.offsets) - 1, len(self.product_id)))
        return np.asarray(found[user_of_pair(lists.offsets), lists.product]).ravel().astype(int)


def fit(histories: Histories, is_recent: Bools) -> Discovery:
    """Fit EASE, without calibration, on what shoppers bought so far.

    Args:
        histories: what the shoppers bought.
        is_recent: whether each pair was bought within the shopper's last `RECENT_ORDERS` orders,
            shape (n_pairs,).
    """
    empty = Discovery(product_id=_most_bought(histories.product_id))
    bought = empty.bought(histories)
    # One thread, because the last digits of a threaded inverse can differ from run to run.
    with threadpool_limits(1):
        gram = (bought.T @ bought).toarray().astype(float)
        inverse = inv(gram + RIDGE * np.eye(len(gram)), assume_a="pos") if len(gram) else gram
    weights = -inverse / np.diag(inverse)
    np.fill_diagonal(weights, 0)
    recent = histories.product_id.filter(pa.array(is_recent))
    places = _places(recent, empty.product_id)
    recent_buyers = np.bincount(places[places >= 0], minlength=len(gram))
    share = (recent_buyers / max(len(histories.orders), 1)).astype(np.float32)
    return replace(empty, weights=weights.astype(np.float16), recent_share=share)


def baselines(discovery: Discovery, bought: csr_matrix) -> dict[str, Score]:
    """Return simple recommenders of the same products, by name.

    Args:
        discovery: names the products.
        bought: what the shoppers bought that the baselines learn from, shape (n_users, n).
    """
    buyers = np.asarray(bought.sum(axis=0), dtype=np.float32).ravel()
    length = np.sqrt(np.maximum(buyers, 1))
    cosine = (bought.T @ bought).toarray() / length / length[:, None]
    np.fill_diagonal(cosine, 0)

    def constant(score: npt.NDArray[np.float32]) -> Score:
        return lambda bought: np.tile(score, (bought.shape[0], 1))

    return {
        "popularity": constant(buyers),
        "recent_popularity": constant(discovery.recent_share),
        "item_cosine": lambda bought: bought @ cosine,
    }


def top(bought: csr_matrix, score: Score, size: int = LISTED) -> Lists:
    """Return the ``size`` products with the highest scores that each shopper has not bought.

    Listed products that tie keep the order of `Discovery.product_id`.
    """
    product, share, count = [], [], [np.zeros(1, dtype=np.int64)]
    for first in range(0, bought.shape[0], CHUNK):
        theirs = bought[first : first + CHUNK]
        scores = np.asarray(score(theirs), dtype=np.float32)
        scores[theirs.nonzero()] = -np.inf
        total = np.maximum(scores, 0).sum(axis=1, dtype=float)
        best = np.tile(np.arange(scores.shape[1]), (len(scores), 1))
        if scores.shape[1] > size:
            best = np.sort(np.argpartition(-scores, size, axis=1)[:, :size], axis=1)
        values = np.take_along_axis(scores, best, axis=1)
        order = np.argsort(-values, axis=1, kind="stable")
        ranked, highest = (np.take_along_axis(each, order, axis=1) for each in (best, values))
        is_new = np.isfinite(highest)
        shares = np.maximum(highest, 0) / np.where(total > 0, total, 1)[:, None]
        product.append(ranked[is_new])
        share.append(shares[is_new])
        count.append(is_new.sum(axis=1))
    return Lists(
        product=np.concatenate([np.empty(0, dtype=np.int64), *product]),
        share=np.concatenate([np.empty(0), *share]),
        offsets=np.cumsum(np.concatenate(count)),
    )


@dataclass(frozen=True)
class Measured:
    """How good lists are, by name of the recommender, with intervals over shoppers.

    Attributes:
        figures: ``recall_at_10`` and ``hit_rate_at_10`` of every recommender; of EASE also those of
            its probabilities, as in `metrics.evaluate`.
        differences: those of EASE minus those of each other one, on the same shoppers.
        shoppers: number of shoppers with a new product in their order: recall and hit rate are
            means over these.
        rows: number of listed products.
    """

    figures: dict[str, dict[str, Estimate]]
    differences: dict[str, dict[str, Estimate]]
    shoppers: int
    rows: int


OURS = "ease"
"""The name of the recommender that is served, beside those of `baselines`."""
OF_PROBABILITIES = (
    *("auc", "log_loss", "mean_predicted", "mean_observed", "expected_calibration_error"),
)


def measure(
    discovery: Discovery,
    histories: Histories,
    first: FirstPurchases,
    others: dict[str, Score],
    probability: Callable[[Lists], Floats],
    *,
    replicates: int = 1000,
    seed: int = 0,
) -> Measured:
    """Measure lists of products that shoppers had never bought against what they bought next.

    Args:
        discovery: what is measured.
        histories: of the test shoppers, before the order.
        first: the new products of the order.
        others: recommenders to measure beside it.
        probability: returns the probability of each row of the lists of EASE.
        replicates: number of bootstrap resamples of shoppers.
        seed: seed of the resamples.
    """
    bought = discovery.bought(histories)
    new = np.bincount(first.user, minlength=bought.shape[0])
    some = (new > 0).astype(float)
    replicates = replicates if some.sum() >= FEW_SHOPPERS else 0
    lists = top(bought, discovery.score)
    label = discovery.labels(lists, first)
    draws = {}
    for name, score in ({OURS: discovery.score} | others).items():
        of_name = lists if name == OURS else top(bought, score)
        found = metrics.by_shopper(discovery.labels(of_name, first), of_name.offsets)
        ratios: dict[str, Ratio] = {
            f"recall_at_{LISTED}": (found / np.maximum(new, 1), some),
            f"hit_rate_at_{LISTED}": ((found > 0).astype(float), some),
        }
        # The same seed gives every recommender the same resamples.
        draws[name] = resample(ratios, None, some, replicates, seed)
    figures = {
        name: {metric: estimate(draw, 1) for metric, draw in of_name.items()}
        for name, of_name in draws.items()
    }
    of_lists = metrics.evaluate(
        probability(lists), label, lists.offsets, replicates=replicates, seed=seed
    )
    figures[OURS] |= {name: of_lists[name] for name in OF_PROBABILITIES}
    differences = {
        name: {
            metric: estimate(draws[OURS][metric] - draw, np.inf, -np.inf)
            for metric, draw in draws[name].items()
        }
        for name in others
    }
    return Measured(figures, differences, int(some.sum()), len(label))


def _most_bought(product_id: pa.ChunkedArray) -> pa.Array:
    """Return the products with most buyers, at most `MOST_PRODUCTS`; of equals, the lower IDs."""
    counted = product_id.value_counts()
    table = pa.table({"id": counted.field("values"), "buyers": counted.field("counts")})
    order = pc.sort_indices(table, [("buyers", "descending"), ("id", "ascending")])
    return table.column("id").take(order[:MOST_PRODUCTS]).combine_chunks()


def _places(product_id: pa.ChunkedArray, products: pa.Array) -> Ints:
    """Return the place of each product in ``products``; -1 if it is not there."""
    if product_id.type != products.type:  # newer orders can turn whole numbers into text
        product_id, products = (ids.cast(pa.string()) for ids in (product_id, products))
    return pc.fill_null(pc.index_in(product_id, products), -1).to_numpy().astype(np.int64)


def _matrix(user: Ints, place: Ints, shape: tuple[int, int]) -> csr_matrix:
    """Return a matrix with a 1 for each user and place, except places of -1."""
    known = place >= 0
    ones = np.ones(int(known.sum()), dtype=np.float32)
    return csr_matrix((ones, (user[known], place[known])), shape=shape)
