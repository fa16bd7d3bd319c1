"""EM: analytic cases, scikit-learn as second implementation, and an objective that rises."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from scipy.special import logsumexp

from gmmseg.checks import InputError
from gmmseg.mixture import covariance, em, moments, passes, start
from gmmseg.mixture.model import Mixture

# Rounding of a mean of log densities of size 100: what "does not fall" allows.
ROUNDING = 1e-11


def planted(n_channels, n_samples=2000, seed=0, n_components=3, apart=4.0):
    """A mixture, samples from it, and a k-means start."""
    rng = np.random.default_rng(seed)
    factors = rng.normal(size=(n_components, n_channels, n_channels))
    truth = Mixture(
        rng.dirichlet(np.full(n_components, 10.0)),
        rng.normal(size=(n_components, n_channels)) * apart,
        factors @ factors.transpose(0, 2, 1) + np.eye(n_channels),
    )
    samples, _ = truth.sample(n_samples, rng)
    return truth, samples, start.kmeans(samples, n_components, rng)


def naive_step(samples, mixture, weight):
    """One EM step, written as in the book; the oracle of the passes."""
    joint = mixture.log_density(samples) + np.log(mixture.weights)
    evidence = logsumexp(joint, axis=1)
    r = np.exp(joint - evidence[:, None]) * weight[:, None]
    means = (r.T @ samples) / r.sum(axis=0)[:, None]
    covariances = np.stack(
        [((r[:, k, None] * (samples - m)).T @ (samples - m)) / r[:, k].sum()
         for k, m in enumerate(means)]
    )  # fmt: skip
    return np.average(evidence, weights=weight), Mixture(
        r.sum(axis=0) / weight.sum(), means, covariances
    )


def test_one_component_is_the_sample_mean_and_covariance():
    x = np.random.default_rng(0).normal(size=(500, 3)) + [1, 2, 3]
    fit = em.fit(x, Mixture([1.0], np.zeros((1, 3)), np.eye(3)[None] * 9))
    assert_allclose(fit.mixture.means[0], x.mean(axis=0), atol=1e-12)
    assert_allclose(fit.mixture.covariances[0], np.cov(x.T, bias=True), atol=1e-12)
    assert fit.converged


def test_a_sample_midway_belongs_to_both():
    mixture = Mixture([0.5, 0.5], [[0.0], [4.0]], [[[1.0]], [[1.0]]])
    posterior, evidence = em.posteriors([[2.0]], mixture)
    assert_allclose(posterior, [[0.5, 0.5]], atol=1e-15)
    assert_allclose(evidence, -2.0 - 0.5 * np.log(2 * np.pi), atol=1e-14)


@pytest.mark.parametrize("n_channels", [1, 2, 3, 8, 9, 20])
def test_passes_agree_with_the_textbook_step(n_channels):
    """Below and above the switch from the compiled pass to matrix products."""
    _, x, mixture = planted(n_channels, n_samples=700)
    weight = np.random.default_rng(1).uniform(0, 3, len(x))
    fit = em.fit(x, mixture, sample_weight=weight, max_iter=1, tol=-np.inf)
    value, expected = naive_step(x, mixture, weight)
    assert fit.objective[0] == pytest.approx(value, abs=1e-11)
    assert_allclose(fit.mixture.weights, expected.weights, atol=1e-12)
    assert_allclose(fit.mixture.means, expected.means, atol=1e-11)
    assert_allclose(fit.mixture.covariances, expected.covariances, atol=1e-10)


@pytest.mark.parametrize("n_channels", [1, 3, 12])
@pytest.mark.parametrize("covariance_type", ["full", "tied", "diag", "spherical"])
@pytest.mark.filterwarnings("ignore:Best performing initialization did not converge")
def test_scikit_learn_finds_the_same_from_the_same_start(n_channels, covariance_type):
    from sklearn.mixture import GaussianMixture

    _, x, begin = planted(n_channels)
    fit = em.fit(x, begin, covariance_type=covariance_type, max_iter=0)
    precisions = np.linalg.inv(fit.mixture.covariances)
    axes = np.diagonal(precisions, axis1=1, axis2=2)
    sk = GaussianMixture(
        3, covariance_type=covariance_type, tol=0, max_iter=25, reg_covar=0,
        weights_init=begin.weights, means_init=begin.means,
        precisions_init={
            "full": precisions, "tied": precisions[0], "diag": axes, "spherical": axes[:, 0],
        }[covariance_type],
    ).fit(x)  # fmt: skip
    ours = em.fit(x, begin, covariance_type=covariance_type, max_iter=25, tol=-np.inf)
    assert ours.objective[-1] == pytest.approx(sk.score(x), abs=1e-10)
    assert_allclose(ours.mixture.means, sk.means_, atol=1e-8)
    assert_allclose(em.posteriors(x, ours.mixture)[0], sk.predict_proba(x), atol=1e-8)


@pytest.mark.parametrize("covariance_type", covariance.MODELS)
@pytest.mark.parametrize("n_channels", [2, 5])
@pytest.mark.parametrize("option", ["plain", "prior", "blur", "weights", "missing"])
def test_no_step_lowers_the_objective(covariance_type, n_channels, option):
    _, x, begin = planted(n_channels, n_samples=300, seed=3, apart=1.5)
    rng = np.random.default_rng(0)
    options = {
        "plain": {},
        "prior": {"variance_prior": em.VariancePrior(floor=0.3, strength=20)},
        "blur": {"blur": 0.2},
        "weights": {"sample_weight": rng.uniform(0, 2, len(x))},
        "missing": {"blur": 0.01},
    }[option]
    if option == "missing":
        x = np.where(rng.random(x.shape) < 0.15, np.nan, x)
    fit = em.fit(x, begin, covariance_type=covariance_type, tol=-np.inf, max_iter=30, **options)
    assert np.diff(fit.objective).min() >= -ROUNDING


def test_a_ridge_after_the_step_would_lower_the_objective():
    """Negative control: what the prior is there to replace is seen by the check above."""
    _, x, mixture = planted(2, n_samples=300, seed=3, apart=1.5)
    values = []
    for _ in range(30):
        value, mixture = naive_step(x, mixture, np.ones(len(x)))
        values.append(value)
        mixture = Mixture(mixture.weights, mixture.means, mixture.covariances + np.eye(2))
    assert np.diff(values).min() < -1e-6


@st.composite
def histograms(draw):
    values = draw(st.lists(st.integers(0, 255), min_size=3, max_size=25, unique=True))
    counts = draw(st.lists(st.integers(1, 40), min_size=len(values), max_size=len(values)))
    return np.array(sorted(values), dtype=float)[:, None], np.array(counts)


@settings(max_examples=40, deadline=None)
@given(histograms())
def test_a_weighted_bin_is_that_many_voxels(histogram):
    """Fitting (value, count) pairs equals fitting the repeated values."""
    bins, counts = histogram
    low, high = bins.min(), bins.max()
    begin = Mixture([0.5, 0.5], [[low], [high]], [[[(high - low) ** 2]]] * 2)
    options = {"variance_prior": em.VariancePrior(floor=1.0), "tol": -np.inf, "max_iter": 20}
    by_bin = em.fit(bins, begin, sample_weight=counts, **options)
    by_voxel = em.fit(np.repeat(bins, counts, axis=0), begin, **options)
    assert_allclose(by_bin.mixture.means, by_voxel.mixture.means, atol=1e-6)
    assert np.diff(by_bin.objective).min() >= -1e-9


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**32 - 1), st.floats(0.01, 100), st.floats(-1e4, 1e4))
def test_scaling_and_shifting_the_data_does_the_same_to_the_mixture(seed, scale, shift):
    _, x, begin = planted(2, n_samples=200, seed=seed % 1000)
    moved = Mixture(begin.weights, begin.means * scale + shift, begin.covariances * scale**2)
    one = em.fit(x, begin, max_iter=10, tol=-np.inf)
    other = em.fit(x * scale + shift, moved, max_iter=10, tol=-np.inf)
    assert_allclose(other.objective + 2 * np.log(scale), one.objective, atol=1e-6)


def test_the_order_of_samples_does_not_matter():
    _, x, begin = planted(3)
    shuffled = np.random.default_rng(0).permutation(x)
    one, other = em.fit(x, begin, max_iter=20), em.fit(shuffled, begin, max_iter=20)
    assert_allclose(one.mixture.means, other.mixture.means, atol=1e-10)


@pytest.mark.parametrize("n_channels", [2, 12])
def test_the_number_of_threads_changes_no_bit(n_channels, alone_and_together):
    _, x, begin = planted(n_channels, n_samples=30_000)
    alone, together = alone_and_together(lambda: em.fit(x, begin, max_iter=3))
    assert np.array_equal(alone.mixture.covariances, together.mixture.covariances)
    assert np.array_equal(alone.objective, together.objective)


def test_float32_is_read_as_it_is_and_summed_as_float64():
    """A mean of 1e4 with deviation 1 needs more than float32 sums hold."""
    rng = np.random.default_rng(0)
    x = (1e4 + rng.normal(size=(100_000, 1))).astype(np.float32)
    fit = em.fit(x, Mixture([1.0], [[1e4]], [[[1.0]]]), max_iter=1)
    exact = x.astype(np.float64)
    assert fit.mixture.means[0, 0] == pytest.approx(exact.mean(), abs=1e-9)
    assert fit.mixture.covariances[0, 0, 0] == pytest.approx(exact.var(), abs=1e-9)


def test_a_log_prior_replaces_the_weights():
    _, x, begin = planted(2)
    prior = np.broadcast_to(np.log(begin.weights), (len(x), 3))
    one = em.fit(x, begin, log_prior=prior, max_iter=0)
    other = em.fit(x, begin, max_iter=0)
    assert one.objective[0] == pytest.approx(other.objective[0], abs=1e-12)
    certain = np.where(np.arange(3) == 1, 0.0, -1e4) * np.ones((len(x), 1))
    posterior, _ = em.posteriors(x, begin, log_prior=certain)
    assert (posterior[:, 1] == 1.0).all()


def test_a_log_prior_never_lets_the_objective_fall():
    _, x, begin = planted(3, n_samples=500)
    prior = np.log(np.random.default_rng(0).dirichlet([1, 1, 1], size=len(x)))
    fit = em.fit(x, begin, log_prior=prior, max_iter=50, tol=-np.inf)
    assert np.diff(fit.objective).min() >= -ROUNDING


def test_planted_parameters_are_found_again():
    truth, x, begin = planted(2, n_samples=40_000, apart=8.0)
    found = em.fit(x, begin).mixture.relabelled()
    truth = truth.relabelled()
    for k in range(3):
        error = np.sqrt(np.diag(truth.covariances[k]) / (truth.weights[k] * len(x)))
        assert (np.abs(found.means[k] - truth.means[k]) < 5 * error).all()
    assert_allclose(found.weights, truth.weights, atol=5 * np.sqrt(0.25 / len(x)))


def test_a_prior_keeps_a_component_from_collapsing_onto_a_point():
    x = np.concatenate([np.zeros(20), np.random.default_rng(0).normal(10, 1, 50)])[:, None]
    begin = start.quantile(x, 2)
    with pytest.raises(InputError, match="collapsed"):
        em.fit(x, begin)
    fit = em.fit(x, begin, variance_prior=em.VariancePrior(floor=1.0))
    # twenty voxels at one value and one of prior weight: variance 1 / 21
    assert fit.mixture.covariances[0, 0, 0] == pytest.approx(1 / 21, rel=1e-6)
    assert np.diff(fit.objective).min() >= -ROUNDING


def test_a_component_without_samples_is_reported_and_stays_finite():
    x = np.random.default_rng(0).normal(size=(100, 1))
    begin = Mixture([0.5, 0.5], [[0.0], [1e6]], [[[1.0]], [[1.0]]])
    fit = em.fit(x, begin)
    assert fit.empty == (1,)
    assert np.isfinite(fit.mixture.means).all()


def test_the_step_on_posteriors_is_the_step_of_the_fit():
    _, x, begin = planted(3)
    posterior, _ = em.posteriors(x, begin)
    fit = em.fit(x, begin, max_iter=1, tol=-np.inf)
    assert_allclose(em.m_step(x, posterior).covariances, fit.mixture.covariances, atol=1e-10)


def test_tolerance_is_per_voxel():
    """The same data ten times over stops after the same number of iterations."""
    _, x, begin = planted(2, n_samples=500, apart=2.0)
    once, often = em.fit(x, begin), em.fit(np.tile(x, (10, 1)), begin)
    assert once.n_iter == often.n_iter


def test_inputs_are_left_alone():
    _, x, begin = planted(3)
    before = x.copy()
    em.fit(x, begin, max_iter=2)
    assert np.array_equal(x, before)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"samples": np.zeros((5, 2))}, "shape"),
        ({"samples": np.zeros((0, 1))}, "empty"),
        ({"samples": np.array([[np.inf], [1.0]])}, "infinite"),
        ({"sample_weight": np.ones(3)}, "one for each sample"),
        ({"sample_weight": -np.ones(10)}, "not negative"),
        ({"sample_weight": np.zeros(10)}, "sums to zero"),
        ({"log_prior": np.zeros((10, 3))}, "log_prior"),
        ({"covariance_type": "round"}, "unknown"),
    ],
)
def test_input_that_does_not_fit_is_refused(change, message):
    samples = change.pop("samples", np.arange(10.0)[:, None])
    begin = Mixture([0.5, 0.5], [[0.0], [5.0]], [[[1.0]], [[1.0]]])
    with pytest.raises(InputError, match=message):
        em.fit(samples, begin, **change)


def test_moments_of_parts_add_up():
    _, x, mixture = planted(3)
    terms = moments.terms_of(mixture)
    parts = passes.e_step(x[:500], terms) + passes.e_step(x[500:], terms)
    whole = passes.e_step(x, terms)
    assert_allclose(parts.scatter, whole.scatter, rtol=1e-10)
    assert parts.total == whole.total


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 1000), st.floats(0.05, 0.95))
def test_splitting_a_weight_in_two_changes_nothing(seed, share):
    _, x, begin = planted(2, n_samples=100, seed=seed)
    weight = np.random.default_rng(seed).uniform(0.1, 3, len(x))
    options = {"max_iter": 10, "tol": -np.inf, "variance_prior": em.VariancePrior(0.1)}
    one = em.fit(x, begin, sample_weight=weight, **options)
    both = np.concatenate([weight * share, weight * (1 - share)])
    other = em.fit(np.tile(x, (2, 1)), begin, sample_weight=both, **options)
    assert_allclose(other.mixture.means, one.mixture.means, atol=1e-8)
    assert_allclose(other.objective, one.objective, atol=1e-10)


@pytest.mark.parametrize("covariance_type", covariance.MODELS)
@pytest.mark.parametrize(("n_channels", "n_components", "apart"), [(2, 2, 6.0), (4, 3, 5.0)])
def test_planted_mixtures_of_every_model_are_recovered(
    covariance_type, n_channels, n_components, apart
):
    """At least as likely as the truth on its own samples, hardly less so on others."""
    rng = np.random.default_rng(7)
    general, _, _ = planted(n_channels, seed=7, n_components=n_components, apart=apart)
    scatter = general.covariances * general.weights[:, None, None]
    covariances = covariance.maximise(scatter, general.weights, covariance_type)
    truth = Mixture(general.weights, general.means, covariances)
    x, label = truth.sample(3000, rng)
    begin = start.from_labels(x, label, n_components)
    found = em.fit(x, begin, covariance_type=covariance_type, max_iter=300).mixture
    assert em.mean_log_likelihood(x, found) > em.mean_log_likelihood(x, truth)
    fresh, _ = truth.sample(20_000, rng)
    lost = em.mean_log_likelihood(fresh, truth) - em.mean_log_likelihood(fresh, found)
    n_parameters = (
        n_components * (n_channels + 1)
        - 1
        + covariance.n_covariance_parameters(covariance_type, n_components, n_channels)
    )
    # Wilks: half a parameter's worth of 1 / 3000 each in expectation; three times that
    assert lost < 1.5 * n_parameters / 3000
