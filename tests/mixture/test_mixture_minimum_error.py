"""Kittler and Illingworth's thresholds: against trying them all, and against the truth."""

from itertools import combinations

import numpy as np
import pytest

from gmmseg import InputError
from gmmseg.mixture.minimum_error import minimum_error_thresholds


def criterion(counts, centres, cuts):
    """J of equation 15, term by term; the variance floor is that of one bin."""
    gap = np.diff(centres).min()
    parts = np.split(np.arange(len(counts)), np.asarray(cuts) + 1)
    total = 1.0
    for part in parts:
        p = counts[part].sum() / counts.sum()
        mean = np.average(centres[part], weights=counts[part])
        variance = np.average((centres[part] - mean) ** 2, weights=counts[part])
        total += 2 * p * (0.5 * np.log(max(variance, gap**2 / 12)) - np.log(p))
    return total


@pytest.mark.parametrize("n_classes", [2, 3, 4])
def test_no_choice_of_thresholds_has_a_lower_criterion(rng, n_classes):
    for _ in range(20):
        counts = rng.integers(1, 50, 14).astype(float)
        centres = np.cumsum(rng.uniform(0.5, 2, 14))
        tried = {
            cuts: criterion(counts, centres, cuts)
            for cuts in combinations(range(13), n_classes - 1)
        }
        found = np.searchsorted(centres, minimum_error_thresholds(counts, centres, n_classes)) - 1
        assert tried[tuple(found)] <= min(tried.values()) + 1e-12


def test_the_threshold_of_two_gaussians_is_where_bayes_puts_it(rng):
    """Weights 5 : 1 and deviations 4 and 12: the boundary, 69.6, is far from the midpoint, 85.

    Truncating each class at the threshold biases its variance, so that 3 units are allowed.
    """
    values = np.concatenate([rng.normal(60, 4, 50000), rng.normal(110, 12, 10000)]).round()
    counts = np.bincount(values.astype(int))
    cut = minimum_error_thresholds(counts, np.arange(len(counts)))
    x = np.linspace(60, 110, 50001)
    low = np.log(5 / 4) - 0.5 * ((x - 60) / 4) ** 2
    high = np.log(1 / 12) - 0.5 * ((x - 110) / 12) ** 2
    bayes = x[np.argmax(high > low)]
    assert abs(cut[0] - bayes) < 3 < abs(85 - bayes)


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e9])
def test_thresholds_scale_with_the_image(scale):
    counts = np.array([1, 6, 9, 6, 1, 1, 5, 8, 5, 1])
    centres = 1e3 + np.arange(10.0)
    expected = minimum_error_thresholds(counts, centres)
    np.testing.assert_allclose(minimum_error_thresholds(counts, centres * scale), expected * scale)


def test_many_bins_are_parted_nearly_as_well_as_few(rng):
    """Bins are joined eightfold for three classes: a cut may miss the gap by one such bin.

    The eight outermost values of 20000 are what that may cost on either side.
    """
    truth = np.repeat([0, 1, 2], 20000)
    values = rng.normal(np.array([800, 2000, 3200])[truth], 90).round().astype(int)
    counts = np.bincount(values, minlength=4000)
    cuts = minimum_error_thresholds(counts, np.arange(len(counts)), 3)
    assert np.count_nonzero(np.digitize(values, cuts) != truth) <= 32


def test_too_few_values_are_refused():
    with pytest.raises(InputError, match="2 distinct values, too few for 3 classes"):
        minimum_error_thresholds([4, 0, 5], [1, 2, 3], 3)
