"""Random fields and noise: their statistics are what the docstrings say."""

import numpy as np
import pytest

from gmmseg.simulate import add_rician_noise, smooth_field
from gmmseg.simulate.fields import bias_field


def test_a_smooth_field_has_mean_zero_and_variance_one_over_many_draws(rng):
    draws = np.stack([smooth_field((6, 7, 8), (2, 3, 4), 12.0, rng) for _ in range(2000)])
    # Standard error of a mean over 2000 draws is 0.022, of a variance 0.032; five of each.
    assert np.abs(draws.mean(axis=0)).max() < 0.11
    assert np.abs(draws.var(axis=0).mean() - 1) < 0.16


def test_neighbours_within_the_scale_are_alike_and_far_points_are_not(rng):
    draws = np.stack([smooth_field((61, 1, 1), (1, 1, 1), 20.0, rng)[:, 0, 0] for _ in range(3000)])
    correlation = np.corrcoef(draws.T)[5]
    assert correlation[6] > 0.98  # 1 mm apart, knots 10 mm apart
    # Cubic B-splines reach 4 knots: no knot is shared by points 45 mm apart. Standard
    # error of a correlation of zero over 3000 draws is 0.018.
    assert np.abs(correlation[50:]).max() < 0.09


def test_a_field_is_the_same_for_the_same_generator_and_differs_for_another():
    draws = [smooth_field((9, 8, 7), (1, 1, 1), 5, np.random.default_rng(s)) for s in (1, 1, 2)]
    np.testing.assert_array_equal(draws[0], draws[1])
    assert not np.array_equal(draws[0], draws[2])


def test_rician_noise_has_the_moments_of_the_rice_distribution(rng):
    sigma, signal = 4.0, 120.0
    noisy = add_rician_noise(np.full(200_000, signal), sigma, rng)
    # E[m^2] = A^2 + 2 sigma^2 exactly; its standard error here is 2 A sigma / sqrt(n) = 2.1.
    assert np.mean(noisy.astype(float) ** 2) == pytest.approx(signal**2 + 2 * sigma**2, abs=11)
    assert noisy.std() == pytest.approx(sigma, rel=0.02)


def test_rician_noise_in_air_is_rayleigh(rng):
    air = add_rician_noise(np.zeros(200_000), 3.0, rng)
    assert air.min() >= 0
    # Mean of the Rayleigh distribution; five standard errors of 0.0044.
    assert air.mean() == pytest.approx(3.0 * np.sqrt(np.pi / 2), abs=0.022)


@pytest.mark.parametrize("percent", [0.0, 20.0, 40.0])
def test_the_bias_field_has_the_range_asked_for_over_the_mask(percent, rng):
    mask = np.zeros((20, 22, 24), bool)
    mask[4:16, 4:18, 5:20] = True
    bias = bias_field(mask, (4, 4, 4), 60.0, percent, rng)
    ratio = bias[mask].max() / bias[mask].min()
    assert ratio == pytest.approx((1 + percent / 200) / (1 - percent / 200), rel=1e-5)
    assert np.log(bias[mask]).mean() == pytest.approx(0, abs=1e-6)
