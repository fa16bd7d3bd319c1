"""Starting points: where they put components, and what they refuse."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

from gmmseg.checks import InputError
from gmmseg.mixture import start

BLOBS = np.concatenate(
    [np.random.default_rng(0).normal(m, 0.5, size=(100, 2)) for m in ([0, 0], [10, 0], [0, 10])]
)
STARTS = {
    "quantile": lambda x, k, w=None: start.quantile(x, k, sample_weight=w),
    "kmeans++": lambda x, k, w=None: start.kmeans_plus_plus(
        x, k, np.random.default_rng(0), sample_weight=w),
    "kmeans": lambda x, k, w=None: start.kmeans(x, k, np.random.default_rng(0), sample_weight=w),
    "random": lambda x, k, w=None: start.random(x, k, np.random.default_rng(0), sample_weight=w),
}  # fmt: skip


@pytest.mark.parametrize("name", STARTS)
def test_every_start_is_a_proper_mixture(name):
    mixture = STARTS[name](BLOBS, 4)
    assert mixture.n_components == 4
    assert np.linalg.eigvalsh(mixture.covariances).min() > 0


def test_kmeans_finds_blobs_that_lie_apart():
    means = start.kmeans(BLOBS, 3, np.random.default_rng(1)).relabelled().means
    nearest = np.abs(means[:, None] - np.array([[0, 0], [10, 0], [0, 10]])).sum(axis=2).min(axis=1)
    assert nearest.max() < 0.3


def test_quantiles_split_the_weight_evenly():
    x = np.arange(1.0, 101.0)[:, None]
    mixture = start.quantile(x, 4)
    assert_allclose(mixture.weights, 0.25)
    heavy = start.quantile(x, 2, sample_weight=np.where(x[:, 0] > 90, 9.0, 1.0))
    assert heavy.means[1, 0] > 90


@pytest.mark.parametrize("name", ["quantile", "kmeans"])
def test_a_weight_is_that_many_copies(name):
    x = np.array([[0.0], [1.0], [10.0], [12.0], [13.0]])
    weight = np.array([3, 1, 2, 1, 4])
    assert_allclose(
        STARTS[name](x, 2, weight).relabelled().means,
        STARTS[name](np.repeat(x, weight, axis=0), 2).relabelled().means,
    )


@pytest.mark.parametrize("name", STARTS)
def test_more_components_than_distinct_values_are_refused(name):
    with pytest.raises(InputError, match="distinct samples; found 2"):
        STARTS[name](np.array([[1.0], [1.0], [2.0]]), 3)


def test_labels_become_their_means_and_a_negative_one_is_left_out():
    mixture = start.from_labels([[0.0], [2.0], [9.0], [11.0], [500.0]], [0, 0, 1, 1, -1])
    assert mixture.means.ravel().tolist() == [1.0, 10.0]


def test_a_label_that_nobody_holds_starts_away_from_the_others():
    mixture = start.from_labels([[0.0], [1.0], [50.0]], [0, 0, 0], 2)
    assert mixture.means[1, 0] == 50.0


def test_constant_channels_still_give_a_start():
    x = np.column_stack([np.arange(10.0), np.ones(10)])
    assert np.linalg.eigvalsh(start.kmeans(x, 2, np.random.default_rng(0)).covariances).min() > 0
