"""Blocks, clusters and stepwise EM give the answer of all samples at once."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

from gmmseg.checks import InputError
from gmmseg.mixture import em, start, streaming
from gmmseg.mixture.estimator import BayesianGaussianMixture, GaussianMixture
from gmmseg.mixture.model import Mixture

TRUTH = Mixture([0.3, 0.7], [[0.0, 0.0], [5.0, 3.0]], [np.eye(2), [[2.0, 0.7], [0.7, 1.0]]])
X, _ = TRUTH.sample(6000, np.random.default_rng(0))
START = start.kmeans(X, 2, np.random.default_rng(0))


def blocks():
    return iter(np.array_split(X, 7))


def test_a_function_of_blocks_is_the_array():
    whole, parts = em.fit(X, START), streaming.fit_stream(blocks, START)
    assert_allclose(parts.mixture.means, whole.mixture.means, atol=1e-9)
    assert_allclose(parts.objective, whole.objective, atol=1e-12)


def test_blocks_may_carry_weights_and_gaps():
    weight = np.random.default_rng(1).uniform(0, 2, len(X))
    gaps = np.where(np.random.default_rng(2).random(X.shape) < 0.1, np.nan, X)
    pairs = lambda: zip(np.array_split(gaps, 5), np.array_split(weight, 5), strict=True)  # noqa: E731
    whole = em.fit(gaps, START, sample_weight=weight, max_iter=10)
    parts = streaming.fit_stream(pairs, START, max_iter=10)
    assert_allclose(parts.mixture.means, whole.mixture.means, atol=1e-9)


@pytest.mark.parametrize("estimator", [GaussianMixture, BayesianGaussianMixture])
def test_estimators_read_memory_maps_and_functions(estimator, tmp_path):
    np.save(tmp_path / "x.npy", X)
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    options = {"n_components": 2, "random_state": 0, "tol": 1e-8, "max_iter": 500}
    whole = estimator(**options).fit(X)
    assert np.array_equal(estimator(**options).fit(mapped).means_, whole.means_)
    if estimator is GaussianMixture:  # a Bayesian prior comes from the first block
        parts = estimator(**options).fit(lambda: iter(np.array_split(mapped, 4)))
        order, other = np.argsort(whole.means_[:, 0]), np.argsort(parts.means_[:, 0])
        assert_allclose(parts.means_[other], whole.means_[order], atol=1e-4)
        assert parts.score(X) == pytest.approx(whole.score(X), abs=1e-6)


def test_a_dask_array_is_reduced_where_it_is():
    array = pytest.importorskip("dask.array", reason="dask is not installed")
    chunked = array.from_array(X, chunks=(1000, 1))
    whole, parts = em.fit(X, START, max_iter=20), streaming.fit_stream(chunked, START, max_iter=20)
    assert_allclose(parts.mixture.means, whole.mixture.means, atol=1e-9)
    assert GaussianMixture(2, random_state=0).fit(chunked).means_.shape == (2, 2)


class Chunked:
    """The few methods of a dask array that are used, without dask."""

    numblocks = (3, 1)

    def rechunk(self, chunks):
        assert chunks == {1: -1}
        return self

    def map_blocks(self, function, *arguments, **_):
        parts = [function(block, *arguments) for block in np.array_split(X, 3)]
        self.result = np.concatenate(parts)
        return self

    def compute(self):
        return self.result


def test_whatever_maps_blocks_like_dask_will_do():
    whole = em.fit(X, START, max_iter=5)
    parts = streaming.fit_stream(Chunked(), START, max_iter=5)
    assert_allclose(parts.mixture.means, whole.mixture.means, atol=1e-9)


def test_stepwise_em_comes_close_to_the_batch_answer():
    model = GaussianMixture(2, random_state=0)
    rng = np.random.default_rng(5)
    for _ in range(60):
        model.partial_fit(TRUTH.sample(500, rng)[0])
    order = np.argsort(model.means_[:, 0])
    # the average remembers some 20 blocks of 500: five standard errors of a mean
    assert_allclose(model.means_[order], TRUTH.means, atol=5 * np.sqrt(2 / 3000))
    assert model.n_iter_ == 60


def test_what_can_be_read_only_once_is_refused():
    with pytest.raises(InputError, match="partial_fit"):
        GaussianMixture(2).fit(blocks())
    with pytest.raises(InputError, match="no block"):
        streaming.fit_stream(lambda: iter([]), START)
    with pytest.raises(InputError, match="single array"):
        streaming.fit_stream(lambda: X, START)
