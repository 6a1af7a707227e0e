"""The network of `ml.modelling.sequence`, in PyTorch, which only the extra ``deep`` installs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

State = dict[str, npt.NDArray[Any]]
"""The fitted values of a network by name."""
QUANTILES = 64
"""A feature enters the network as its place among this many quantiles of the training rows."""
QUANTILE_ROWS = 50_000
SCORED_ROWS = 1024
"""Rows that are scored together. The number is fixed, because rounding depends on it."""
POOL_BATCHES = 64
"""Batches among which the rows of an epoch are sorted by length, which saves padding."""


class Network(nn.Module):
    """A GRU over the orders of each pair, whose last state joins the other features.

    The GRU is that of Cho et al. 2014, "Learning phrase representations using RNN encoder-decoder".
    """

    quantiles: Tensor

    def __init__(self, features: int, sequences: int, hidden: int) -> None:
        super().__init__()
        self.register_buffer("quantiles", torch.zeros(features, QUANTILES - 1))
        self.embed = nn.Linear(sequences + 2, hidden)
        self.gru = nn.GRU(hidden, hidden, batch_first=True)
        self.head = nn.Sequential(
            *(nn.Linear(hidden + features, 64), nn.ReLU()),
            *(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 1)),
        )

    def forward(self, X: Tensor, sequences: Tensor) -> Tensor:
        """Return the log-odds of rows, shape (n_rows,).

        Args:
            X: float32 features, shape (n_rows, n_features); missing values are NaN.
            sequences: one bit for each order, as in `pair_sequences`, shape (n_rows, n_sequences).
                The first has a bit for each order of the pair, the second for each purchase.
        """
        bits = sequences.int()
        orders = torch.log2(bits[:, 0] + 1.0).round().int()
        place = torch.arange(int(orders.max()))  # 0 is a pair's first order
        order = (orders[:, None] - 1 - place).clamp(min=0)
        steps = ((bits[:, None, 1:] >> order[:, :, None]) & 1).float()
        so_far = steps[:, :, 0].cumsum(1)
        known = torch.stack([so_far.log1p(), so_far / (place + 1)], 2)
        embedded = self.embed(torch.cat([steps, known], 2)).relu()
        states, _ = self.gru(embedded)
        state = states[torch.arange(len(X)), orders - 1]
        ranks = torch.searchsorted(self.quantiles, X.T.contiguous(), right=True).T / QUANTILES - 0.5
        ranks[X.isnan()] = -1.0
        return self.head(torch.cat([state, ranks], 1))[:, 0]


def fit(
    X: npt.NDArray[np.float32],
    sequences: npt.NDArray[np.float32],
    label: npt.NDArray[Any],
    weight: npt.NDArray[Any],
    *,
    hidden: int,
    epochs: int,
    batch_size: int,
    learning_rate: float,
    weight_decay: float,
    seed: int,
) -> State:
    """Fit a network to the weighted log-loss, with AdamW and a one-cycle learning rate.

    They are from Loshchilov, Hutter 2019, "Decoupled weight decay regularization", and Smith,
    Topin 2019, "Super-convergence".
    """
    rng = np.random.default_rng(seed)
    with _reproducible(seed):
        network = Network(X.shape[1], sequences.shape[1] - 1, hidden)
        some = X[rng.permutation(len(X))[:QUANTILE_ROWS]]
        network.quantiles.copy_(torch.from_numpy(_quantiles(some)))
        optimizer = torch.optim.AdamW(
            network.parameters(), lr=learning_rate, weight_decay=weight_decay
        )
        steps = epochs * -(-len(X) // batch_size)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, learning_rate, steps)
        for _ in range(epochs):
            for rows in _batches(sequences[:, 0], batch_size, rng):
                loss = nn.functional.binary_cross_entropy_with_logits(
                    network(torch.from_numpy(X[rows]), torch.from_numpy(sequences[rows])),
                    torch.from_numpy(label[rows].astype(np.float32)),
                    torch.from_numpy(weight[rows].astype(np.float32)),
                )
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                schedule.step()
        return {name: value.numpy() for name, value in network.state_dict().items()}


def log_odds(
    state: State, X: npt.NDArray[np.float32], sequences: npt.NDArray[np.float32]
) -> npt.NDArray[np.float64]:
    """Return the log-odds of rows under a fitted network, shape (n_rows,)."""
    features, hidden = len(state["quantiles"]), len(state["embed.bias"])
    network = Network(features, sequences.shape[1] - 1, hidden)
    network.load_state_dict({name: torch.from_numpy(value) for name, value in state.items()})
    found = np.empty(len(X))
    # Rows of like length go together. The last batch is filled up with the first rows.
    order = np.resize(np.argsort(sequences[:, 0]), -(-len(X) // SCORED_ROWS) * SCORED_ROWS)
    with _reproducible(), torch.inference_mode():
        for rows in order.reshape(-1, SCORED_ROWS):
            found[rows] = network(torch.from_numpy(X[rows]), torch.from_numpy(sequences[rows]))
    return found


def _batches(
    length: npt.NDArray[Any], size: int, rng: np.random.Generator
) -> list[npt.NDArray[np.int64]]:
    """Return the rows of each batch of an epoch, at random, but with rows of like length."""
    order = rng.permutation(len(length))
    order = order[np.lexsort((length[order], np.arange(len(order)) // (POOL_BATCHES * size)))]
    batches = np.array_split(order, -(-len(order) // size))
    rng.shuffle(batches)
    return batches


def _quantiles(X: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Return the quantiles of each feature, shape (n_features, QUANTILES - 1)."""
    shares = np.linspace(0, 1, QUANTILES + 1)[1:-1]
    return np.nan_to_num(np.nanquantile(X, shares, axis=0).T).astype(np.float32)


@contextmanager
def _reproducible(seed: int = 0) -> Iterator[None]:
    """Let PyTorch use one thread, because sums depend on how many share them, and one seed."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            yield
    finally:
        torch.set_num_threads(threads)
