"""Classes of a histogram in order of intensity, of whatever family."""

import numpy as np
import pytest
from scipy.stats import norm

from gmmseg import InputError
from gmmseg.mixture.ordered import ordered_classes


def histogram(values):
    counts = np.bincount(np.asarray(values).round().astype(int))
    return counts, np.arange(len(counts))


def test_shares_means_and_separation_are_those_of_the_simulation(rng):
    """20000 and 60000 values: means are known to a tenth, shares to two in a thousand."""
    values = np.concatenate([rng.normal(60, 8, 20000), rng.normal(130, 8, 60000)])
    found = ordered_classes(*histogram(values), 2)
    np.testing.assert_allclose(found.weights, [0.25, 0.75], atol=0.01)
    np.testing.assert_allclose(found.mixture.means.ravel(), [60, 130], atol=0.4)
    np.testing.assert_allclose(found.separation, [70 / 8], rtol=0.03)
    assert not found.one_class


def test_the_misfit_is_what_kolmogorov_and_smirnov_measure(rng):
    """Of its own kind of data about 1 / sqrt(N); of flat data far more."""
    values = np.concatenate([rng.normal(60, 8, 20000), rng.normal(130, 8, 20000)])
    counts, centres = histogram(values)
    found = ordered_classes(counts, centres, 2)
    mixture = found.mixture
    spread = np.sqrt(mixture.covariances.ravel())
    model = norm.cdf((centres[:-1, None] + 0.5 - mixture.means.ravel()) / spread) @ mixture.weights
    expected = np.abs(model - np.cumsum(counts)[:-1] / counts.sum()).max()
    assert found.misfit == pytest.approx(expected)
    assert found.misfit < 0.01 < ordered_classes(np.ones(256), np.arange(256), 2).misfit


@pytest.mark.parametrize("k", [2, 3, 4, 5])
def test_as_many_classes_are_found_as_there_are(rng, k):
    values = rng.normal(np.repeat(30 + 45.0 * np.arange(k), 5000), 6)
    assert len(ordered_classes(*histogram(values), "auto").weights) == k


def test_thresholds_part_what_the_posteriors_part(rng):
    counts, centres = histogram(rng.normal(np.repeat([50.0, 90.0, 150.0], 5000), 11).clip(0))
    found = ordered_classes(counts, centres, 3)
    by_cut = np.searchsorted(found.thresholds, centres, "left")
    by_posterior = found.posteriors.argmax(1)
    assert np.count_nonzero(by_cut != by_posterior) <= 2  # bins that hold a threshold
    np.testing.assert_allclose(found.posteriors.sum(1), 1)


def test_outliers_are_a_family_beside_the_classes(rng):
    """Ten per cent of the values lie anywhere: they get no class of their own."""
    values = np.concatenate([
        rng.normal(60, 5, 9000), rng.normal(120, 5, 9000), rng.uniform(0, 255, 2000),
    ])  # fmt: skip
    found = ordered_classes(*histogram(values), 2, families=("gaussian", "gaussian", "uniform"))
    assert len(found.weights) == 2
    assert abs(found.thresholds[0] - 90) < 3
    np.testing.assert_allclose(found.mixture.means.ravel(), [60, 120], atol=0.5)
    assert np.isfinite(found.posteriors).all()


def test_families_may_be_chosen_for_the_image(rng):
    air = np.abs(rng.normal(0, 20, 20000) + 1j * rng.normal(0, 20, 20000))
    values = np.concatenate([air, rng.normal(150, 12, 20000)])
    found = ordered_classes(*histogram(values), 2, families="auto")
    assert set(found.fit.families) & {"rayleigh", "rician"}
    assert 70 < found.thresholds[0] < 110


@pytest.mark.parametrize(
    ("classes", "families", "said"),
    [
        ("auto", "auto", "needs a number of classes"),
        (2, ("gaussian", "uniform"), "two classes or more beside"),
        (2, ("gamma",), "families must be some of"),
    ],
)
def test_families_that_make_no_classes_are_refused(rng, classes, families, said):
    counts, centres = histogram(rng.normal(90, 9, 1000))
    with pytest.raises(InputError, match=said):
        ordered_classes(counts, centres, classes, families=families)
