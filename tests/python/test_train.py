"""Training samples hold every pair bought again and a weighted sample of the others."""

from dataclasses import replace

import numpy as np
import pytest
from conftest import Place

from ml.jobs import train
from ml.settings import Settings
from ml.warehouse import connection
from ml.warehouse.feature_list import features
from ml.warehouse.sampling import Sample

pytestmark = pytest.mark.slow


def sample(place: Place, rows: int, seed: int = 0) -> Sample:
    settings = replace(Settings.load(warehouse=place.warehouse), training_rows=rows, seed=seed)
    with connection.connect(settings, read_only=True) as con:
        return train.draw(con, features(settings), settings)


@pytest.fixture
def pairs(published: Place, monkeypatch: pytest.MonkeyPatch) -> tuple[int, int]:
    """The number of training examples, and how many of them were bought again."""
    monkeypatch.setenv("DBT_TARGET_PATH", published.environment["DBT_TARGET_PATH"])
    ((count, reorders),) = published.query(
        "select count(*), sum(label::int) from examples where cutoff > 0 and split = 'train'"
    )
    return count, int(reorders)


def test_every_pair_is_drawn_once_if_all_of_them_fit(
    published: Place, pairs: tuple[int, int]
) -> None:
    drawn = sample(published, rows=pairs[0])
    assert (len(drawn), drawn.label.sum()) == pairs
    assert (drawn.weight == 1).all()


def test_a_sample_keeps_every_pair_bought_again_and_weights_the_others(
    published: Place, pairs: tuple[int, int]
) -> None:
    count, reorders = pairs
    rows = reorders + (count - reorders) // 4
    drawn = sample(published, rows)
    assert len(drawn) == pytest.approx(rows, rel=0.05)
    assert drawn.label.sum() == reorders
    assert (drawn.weight[drawn.label == 1] == 1).all()
    assert drawn.weight.sum() == pytest.approx(count, rel=0.03)
    # The sample favours likelier pairs, and the weights correct for that.
    names = [feature.name for feature in features(Settings.load())]
    decay = names.index("pair_decay_5_orders_share")
    others, all_others = (
        each.of(each.label == 0) for each in (drawn, sample(published, rows=count))
    )
    mean = all_others.X[:, decay].mean()
    assert np.average(others.X[:, decay], weights=others.weight) == pytest.approx(mean, rel=0.03)
    assert others.X[:, decay].mean() > 1.2 * mean


def test_the_seed_decides_which_pairs_are_drawn(published: Place, pairs: tuple[int, int]) -> None:
    first, again, other = (sample(published, pairs[1] * 2, seed) for seed in (1, 1, 2))
    assert np.array_equal(first.X, again.X, equal_nan=True)
    assert len(first) != len(other) or not np.array_equal(first.X, other.X, equal_nan=True)
