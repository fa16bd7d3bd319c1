"""Likelihood-ratio test and standard errors by the bootstrap."""

import numpy as np
import pytest

from gmmseg.mixture import bootstrap, em
from gmmseg.mixture.model import Mixture


def test_the_likelihood_ratio_test_tells_one_component_from_two():
    rng = np.random.default_rng(1)
    one = rng.normal(size=(120, 1))
    two = np.concatenate([one[:60] - 3, one[60:] + 3])
    options = {"n_bootstrap": 19}
    assert bootstrap.likelihood_ratio_test(two, 1, rng, **options).p_value == pytest.approx(0.05)
    assert bootstrap.likelihood_ratio_test(one, 1, rng, **options).p_value > 0.05


def test_bootstrap_errors_are_those_of_theory_for_one_gaussian():
    rng = np.random.default_rng(2)
    x = rng.normal(0, 3, (400, 1))
    fit = em.fit(x, Mixture([1.0], [[0.0]], [[[1.0]]])).mixture
    spread = bootstrap.bootstrap_parameters(x, fit, rng, n_bootstrap=400)
    errors = spread.standard_errors()
    sigma = x.std()
    # 400 replicates know a deviation to 1 / sqrt(800) = 3.5 %; four of these
    assert errors["means"].item() == pytest.approx(sigma / 20, rel=0.15)
    assert errors["covariances"].item() == pytest.approx(sigma**2 * np.sqrt(2 / 400), rel=0.25)
    low, high = spread.interval()["means"].ravel()
    assert low < fit.means.item() < high
