"""The mixture as an object: densities, marginals, conditionals, samples, order."""

import numpy as np
import pytest
from scipy import stats

from gmmseg.checks import InputError
from gmmseg.mixture.model import Mixture


@pytest.fixture
def three_channels():
    rng = np.random.default_rng(5)
    factors = rng.normal(size=(3, 3, 3))
    covariances = factors @ factors.transpose(0, 2, 1) + np.eye(3)
    return Mixture([0.2, 0.3, 0.5], rng.normal(size=(3, 3)) * 3, covariances)


def test_log_density_is_scipys(three_channels):
    x = np.random.default_rng(0).normal(size=(20, 3)) * 4
    expected = [
        stats.multivariate_normal(m, c).logpdf(x)
        for m, c in zip(three_channels.means, three_channels.covariances, strict=True)
    ]
    np.testing.assert_allclose(three_channels.log_density(x), np.transpose(expected), rtol=1e-12)


def test_arrays_are_copies_that_cannot_be_written():
    means = np.zeros((1, 1))
    mixture = Mixture([1.0], means, [[[1.0]]])
    means[0, 0] = 9.0
    assert mixture.means[0, 0] == 0.0
    with pytest.raises(ValueError, match="read-only"):
        mixture.means[0, 0] = 1.0


def test_joint_density_is_marginal_times_conditional(three_channels):
    x = np.array([0.5, -1.0, 2.0])
    joint = three_channels.score_samples(x[None])[0]
    marginal = three_channels.marginal([2, 0]).score_samples(x[None, [2, 0]])[0]
    conditional = three_channels.condition([2, 0], x[[2, 0]]).score_samples(x[None, [1]])[0]
    assert joint == pytest.approx(marginal + conditional, abs=1e-12)


def test_samples_have_the_moments_of_the_mixture(three_channels):
    x, component = three_channels.sample(200_000, np.random.default_rng(1))
    share = np.bincount(component) / len(x)
    # four standard errors of a proportion and of a mean
    assert np.abs(share - three_channels.weights).max() < 4 * np.sqrt(0.25 / len(x))
    for k in range(3):
        own = x[component == k]
        error = np.sqrt(np.diag(three_channels.covariances[k]) / len(own))
        assert (np.abs(own.mean(axis=0) - three_channels.means[k]) < 4 * error).all()


def test_components_are_ordered_by_mean():
    mixture = Mixture([0.2, 0.8], [[5.0], [1.0]], [[[1.0]], [[2.0]]]).relabelled()
    assert mixture.means.ravel().tolist() == [1.0, 5.0]
    assert mixture.weights.tolist() == [0.8, 0.2]
    assert mixture.covariances.ravel().tolist() == [2.0, 1.0]


@pytest.mark.parametrize(
    ("weights", "means", "covariances", "message"),
    [
        ([1.0], [0.0], [[[1.0]]], "means must have shape"),
        ([0.5, 0.5], [[0.0]], [[[1.0]]], "need weights"),
        ([0.5, 0.6], [[0.0], [1.0]], [[[1.0]], [[1.0]]], "sum to 1"),
        ([1.0], [[np.nan]], [[[1.0]]], "finite"),
    ],
)
def test_parts_that_do_not_fit_are_refused(weights, means, covariances, message):
    with pytest.raises(InputError, match=message):
        Mixture(weights, means, covariances)


def test_channels_that_do_not_exist_are_refused(three_channels):
    for channels in ([0, 0], [3], [-1], [0.5]):
        with pytest.raises(InputError, match="channels must be"):
            three_channels.marginal(channels)
    with pytest.raises(InputError, match="not given"):
        three_channels.condition([0, 1, 2], [0.0, 0.0, 0.0])
