"""Missing channels: the exact marginal likelihood, not imputation."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

from gmmseg.mixture import em, missing
from gmmseg.mixture.model import Mixture

TRUTH = Mixture(
    [0.4, 0.6],
    [[0.0, 0.0, 1.0], [6.0, 4.0, -3.0]],
    [[[2.0, 1.0, 0.5], [1.0, 2.0, 0.3], [0.5, 0.3, 1.0]], np.eye(3).tolist()],
)


def test_density_of_a_gap_is_the_marginal():
    x, _ = TRUTH.sample(50, np.random.default_rng(0))
    gap = x.copy()
    gap[:, 1] = np.nan
    _, evidence = em.posteriors(gap, TRUTH)
    assert_allclose(evidence, TRUTH.marginal([0, 2]).score_samples(x[:, [0, 2]]), atol=1e-12)


def test_a_row_with_nothing_has_the_weights_as_posterior():
    posterior, evidence = em.posteriors(np.full((2, 3), np.nan), TRUTH)
    assert_allclose(posterior, [TRUTH.weights] * 2, atol=1e-15)
    assert_allclose(evidence, 0.0, atol=1e-15)


def test_one_gaussian_with_a_monotone_gap_has_the_closed_form():
    """Channel 1 lost for some rows: regress it on channel 0 among complete rows (Anderson 1957)."""
    rng = np.random.default_rng(2)
    x = rng.multivariate_normal([1, 2], [[2, 1.2], [1.2, 3]], 400)
    x[250:, 1] = np.nan
    fit = em.fit(x, Mixture([1.0], [[0.0, 0.0]], [np.eye(2)]), tol=1e-14, max_iter=2000)
    seen = x[:250]
    cov = np.cov(seen.T, bias=True)
    slope = cov[0, 1] / cov[0, 0]
    mean = seen[:, 1].mean() + slope * (x[:, 0].mean() - seen[:, 0].mean())
    variance = cov[1, 1] + slope**2 * (x[:, 0].var() - cov[0, 0])
    assert fit.mixture.means[0] == pytest.approx([x[:, 0].mean(), mean], abs=1e-5)
    assert fit.mixture.covariances[0, 1, 1] == pytest.approx(variance, abs=1e-4)


def test_parameters_survive_values_missing_at_random():
    rng = np.random.default_rng(3)
    x, _ = TRUTH.sample(20_000, rng)
    x[rng.random(x.shape) < 0.3] = np.nan
    fit = em.fit(x, Mixture([0.5, 0.5], TRUTH.means + 1, [np.eye(3) * 4] * 2))
    # 30 % of 8,000 voxels or more remain a channel: five standard errors of a mean
    assert_allclose(fit.mixture.means, TRUTH.means, atol=5 * np.sqrt(2 / 5600))


def test_nothing_missing_gives_the_plain_answer():
    x, _ = TRUTH.sample(300, np.random.default_rng(1))
    patterns = missing.Patterns(x, None, None)
    terms = em.terms_of(TRUTH)
    assert_allclose(patterns.e_step(TRUTH, terms).scatter, em.e_step(x, terms).scatter, rtol=1e-10)


def test_what_is_missing_is_filled_with_its_conditional_mean():
    row = np.array([[1.0, np.nan, 0.5]])
    filled = missing.conditional_means(row, TRUTH)
    conditional = TRUTH.condition([0, 2], row[0, [0, 2]])
    assert filled[0, 1] == pytest.approx(conditional.weights @ conditional.means[:, 0], abs=1e-12)
    assert filled[0, 0] == 1.0


@pytest.mark.filterwarnings("ignore:Best performing initialization did not converge")
@pytest.mark.parametrize("covariance_type", ["full", "tied", "diag", "spherical"])
def test_the_evidence_bound_never_falls_with_gaps(covariance_type):
    from gmmseg.mixture.estimator import BayesianGaussianMixture

    rng = np.random.default_rng(5)
    x, _ = TRUTH.sample(300, rng)
    x[rng.random(x.shape) < 0.3] = np.nan
    model = BayesianGaussianMixture(
        n_components=4, covariance_type=covariance_type, random_state=0, tol=0.0, max_iter=100
    ).fit(x)
    assert np.diff(model.lower_bounds_).min() >= -1e-11
    assert np.isfinite(model.predict_proba(x)).all()
