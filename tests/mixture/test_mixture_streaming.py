"""Blocks, clusters and stepwise EM give the answer of all samples at once."""

import dask.array as da
import distributed
import numpy as np
import pytest
from numpy.testing import assert_allclose

from gmmseg.checks import InputError
from gmmseg.mixture import em, estimator_base, start, streaming
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


def memory_map(tmp_path):
    np.save(tmp_path / "x.npy", X)
    return np.load(tmp_path / "x.npy", mmap_mode="r")


def function_of_blocks(tmp_path):
    return blocks


def dask_array(tmp_path):
    return da.from_array(X, chunks=(1000, 1))


SOURCES = [memory_map, function_of_blocks, dask_array]
OPTIONS = {"n_components": 2, "random_state": 0, "tol": 1e-8, "max_iter": 500}


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("estimator", [GaussianMixture, BayesianGaussianMixture])
def test_whatever_the_samples_come_in_answers_are_those_in_memory(estimator, source, tmp_path):
    """Fit from scratch: the start is drawn from all blocks, and so is a Bayesian prior."""
    data, whole = source(tmp_path), estimator(**OPTIONS).fit(X)
    parts = estimator(**OPTIONS).fit(data)
    assert parts.n_iter_ == whole.n_iter_
    assert_allclose(parts.means_, whole.means_, atol=1e-9)
    assert_allclose(parts.covariances_, whole.covariances_, atol=1e-9)
    assert parts.lower_bound_ == pytest.approx(whole.lower_bound_, abs=1e-9)
    assert whole.score(data) == pytest.approx(whole.score(X), abs=1e-9)
    assert np.array_equal(whole.predict(data), whole.predict(X))
    assert_allclose(whole.predict_proba(data), whole.predict_proba(X), atol=1e-9)
    assert_allclose(whole.score_samples(data), whole.score_samples(X), atol=1e-9)
    if estimator is GaussianMixture:
        for criterion in ("bic", "aic", "icl"):
            there, here = (getattr(whole, criterion)(one) for one in (data, X))
            assert there == pytest.approx(here, rel=1e-9 / 2)  # some 5e4 nats in all


def test_a_distributed_client_gives_the_answers_in_memory(tmp_path):
    data, whole = dask_array(tmp_path), GaussianMixture(**OPTIONS).fit(X)
    with distributed.Client(
        processes=False, n_workers=1, threads_per_worker=2, dashboard_address=None
    ):
        parts = GaussianMixture(**OPTIONS).fit(data)
        assert_allclose(parts.means_, whole.means_, atol=1e-9)
        assert parts.bic(data) == pytest.approx(whole.bic(X), abs=1e-6)
        assert np.array_equal(parts.predict(data), whole.predict(X))


def test_more_rows_than_a_start_takes_are_drawn_as_in_memory():
    x, _ = TRUTH.sample(250_000, np.random.default_rng(3))
    options = {**OPTIONS, "tol": 1e-4}
    whole = GaussianMixture(**options).fit(x)
    parts = GaussianMixture(**options).fit(lambda: iter(np.array_split(x, 9)))
    assert parts.n_iter_ == whole.n_iter_
    assert_allclose(parts.means_, whole.means_, atol=1e-9)


@pytest.mark.parametrize("estimator", [GaussianMixture, BayesianGaussianMixture])
def test_weights_come_with_the_blocks(estimator):
    weight = np.random.default_rng(1).uniform(0.1, 2, len(X))
    gaps = np.where(np.random.default_rng(2).random(X.shape) < 0.1, np.nan, X)
    pairs = lambda: zip(np.array_split(gaps, 5), np.array_split(weight, 5), strict=True)  # noqa: E731
    whole = estimator(**OPTIONS).fit(gaps, sample_weight=weight)
    parts = estimator(**OPTIONS).fit(pairs)
    assert_allclose(parts.means_, whole.means_, atol=1e-8)
    assert parts.score(pairs) == pytest.approx(whole.score(gaps, sample_weight=weight), abs=1e-9)
    with pytest.raises(InputError, match="pairs of a block and its weights"):
        estimator(**OPTIONS).fit(blocks, sample_weight=weight)
    with pytest.raises(InputError, match="pairs of a block and its weights"):
        whole.score(blocks, sample_weight=weight)


def test_auto_chooses_for_a_stream_what_it_chooses_in_memory():
    whole, parts = (
        GaussianMixture(2, covariance_type="auto", random_state=0).fit(one) for one in (X, blocks)
    )
    assert parts.covariance_type_ == whole.covariance_type_


def test_scores_may_be_read_from_an_iterator_once():
    model = GaussianMixture(**OPTIONS).fit(X)
    assert model.score(blocks()) == pytest.approx(model.score(X), abs=1e-9)


@pytest.mark.parametrize("estimator", [GaussianMixture, BayesianGaussianMixture])
@pytest.mark.parametrize("most", [100, 200_000])
def test_a_bad_block_anywhere_is_refused(estimator, most, monkeypatch):
    """Also where no start was drawn from it."""
    monkeypatch.setattr(estimator_base, "MOST_ROWS", most)
    late = X.copy()
    late[-1, 0] = np.inf
    with pytest.raises(ValueError, match="infini"):
        estimator(**OPTIONS).fit(lambda: iter(np.array_split(late, 7)))
    weight = np.ones(len(X))
    for wrong, message in ((weight[1:], "one for each sample"), (-weight, "not negative")):
        with pytest.raises(InputError, match=message):
            estimator(**OPTIONS).fit(lambda: iter([(X, wrong)]))  # noqa: B023 (read at once)


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
