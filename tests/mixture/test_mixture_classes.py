"""Classes of intensity: against numerical integration, known truths and kinds of image."""

import numpy as np
import pytest
from scipy.stats import norm

from gmmseg.checks import InputError
from gmmseg.mixture.classes import Scale, coarsen, fit_classes
from gmmseg.mixture.onemode import check_one_class


def histogram(values):
    levels, counts = np.unique(values, return_counts=True)
    return counts, levels


def nuclei(rng, n=100_000, offset=0.0):
    """Clipped background of spread 3, and a tenth of objects whose brightness varies tenfold."""
    truth = rng.random(n) < 0.1
    values = np.where(truth, rng.lognormal(np.log(60), 0.8, n), 0) + rng.normal(2, 3, n)
    return np.round(np.maximum(values, 0) + offset), truth


def page(rng, n=100_000, ink=0.08):
    """Narrow paper and wide ink."""
    truth = rng.random(n) < ink
    return np.round(np.where(truth, rng.normal(90, 25, n), rng.normal(200, 6, n))), truth


def dice(found, truth):
    return 2 * (found & truth).sum() / (found.sum() + truth.sum())


def test_the_log_likelihood_is_that_of_the_grouped_data(rng):
    counts, levels = histogram(page(rng)[0])
    fit = fit_classes(counts, levels, scale=Scale())
    edges = np.concatenate([[-np.inf], 0.5 * (levels[1:] + levels[:-1]), [np.inf]])
    spread = np.sqrt(fit.variances)
    mass = np.diff(norm.cdf((edges[:, None] - fit.means) / spread), axis=0) @ fit.weights
    # The kernel's normal integral agrees with SciPy's to 1e-15 of the whole, not of each tail.
    assert fit.log_likelihood == pytest.approx((counts / counts.sum()) @ np.log(mass), abs=1e-9)


@pytest.mark.parametrize("strength", [0.0, 1.0, 100.0])
@pytest.mark.parametrize("n_classes", [2, 3, 4])
def test_no_step_of_the_fit_lowers_the_objective(rng, strength, n_classes):
    counts, levels = histogram(nuclei(rng)[0])
    fit = fit_classes(counts, levels, n_classes, strength=strength)
    assert np.diff(fit.objective).min(initial=0.0) >= 0
    assert np.all(np.diff(fit.thresholds) >= 0)
    assert fit.weights.sum() == pytest.approx(1)


def test_two_gaussians_of_one_variance_are_recovered_from_clipped_levels(rng):
    """Half the lower class is clipped at zero; 400,000 voxels give means within 0.2."""
    values = np.concatenate([rng.normal(0, 10, 200_000), rng.normal(60, 10, 200_000)])
    counts, levels = histogram(np.clip(np.round(values), 0, 255))
    fit = fit_classes(counts, levels, scale=Scale())
    np.testing.assert_allclose(fit.means, [0, 60], atol=0.2)
    np.testing.assert_allclose(fit.variances, 100, rtol=0.02)
    assert fit.thresholds[0] == pytest.approx(30, abs=0.3)


def test_dim_objects_are_found_on_a_scale_that_turns_logarithmic(rng):
    values, truth = nuclei(rng)
    fit = fit_classes(*histogram(values))
    linear = fit_classes(*histogram(values), scale=Scale(), strength=100.0)
    assert np.isfinite(fit.scale.origin)
    # The best threshold of this image reaches 0.95; Otsu's kind of cut, the control, misses
    # the dim half.
    assert dice(values > fit.thresholds[0], truth) > 0.93
    assert dice(values > linear.thresholds[0], truth) < 0.8


def test_a_page_stays_linear_and_wide_ink_does_not_push_the_cut_to_the_paper(rng):
    values, _ = page(rng)
    fit = fit_classes(*histogram(values))
    free = fit_classes(*histogram(values), scale=Scale(), strength=0.0)
    assert np.isinf(fit.scale.origin)
    # The prior keeps the cut nearer to half way, 145, than to where both densities cross.
    assert 145 < fit.thresholds[0] < 165
    assert free.thresholds[0] > 170  # the control: without the prior


@pytest.mark.parametrize("offset", [0.0, 33_000.0, -500.0])
def test_an_offset_moves_the_threshold_and_changes_nothing_else(offset):
    values, _ = nuclei(np.random.default_rng(5))
    counts, levels = histogram(values)
    plain, moved = fit_classes(counts, levels), fit_classes(counts, levels + offset)
    np.testing.assert_allclose(moved.thresholds - offset, plain.thresholds, atol=1e-4)


def test_posteriors_change_sides_at_the_thresholds(rng):
    fit = fit_classes(*histogram(nuclei(rng)[0]), 3)
    values = np.linspace(0, 300, 3001)
    posterior = fit.posteriors(values)
    np.testing.assert_allclose(posterior.sum(axis=-1), 1)
    # Thresholds are found to 1/4096 of the distance of two means on the scale.
    disagree = posterior.argmax(axis=-1) != fit.predict(values)
    assert disagree.mean() < 0.002


@pytest.mark.parametrize("scale", [Scale(), Scale(10.0, 3.0)])
def test_a_scale_goes_forward_and_back(scale):
    values = np.linspace(-50, 5000, 101)
    np.testing.assert_allclose(scale.backward(scale.forward(values)), values, atol=1e-9)
    assert np.all(np.diff(scale.forward(values)) > 0)


def test_coarser_bins_keep_all_voxels_and_their_mean(rng):
    levels = np.arange(20_000.0)
    counts = rng.poisson(3, levels.size).astype(float)
    merged, centres, edges = coarsen(counts, levels, 128)
    assert len(merged) <= 128
    assert merged.sum() == counts.sum()
    assert merged @ centres == pytest.approx(counts @ levels)
    assert np.all((centres[:-1] < edges) & (edges < centres[1:]))


NOISE = {
    "gaussian": lambda rng, n: rng.normal(100, 10, n),
    "poisson": lambda rng, n: rng.poisson(3, n),
    "clipped": lambda rng, n: np.clip(rng.normal(0, 5, n), 0, 255),
    "rayleigh": lambda rng, n: rng.rayleigh(20, n),
    "exponential": lambda rng, n: rng.exponential(20, n),
    "flat": lambda rng, n: rng.integers(0, 256, n),
}


@pytest.mark.parametrize("kind", NOISE)
@pytest.mark.parametrize("n", [3_000, 300_000])
def test_an_empty_image_of_noise_is_one_class(rng, kind, n):
    assert check_one_class(*histogram(np.round(NOISE[kind](rng, n)))).one_class


def test_one_class_is_not_said_of_pages_and_nuclei(rng):
    for make in (page, nuclei):
        for n in (3_000, 300_000):
            check = check_one_class(*histogram(make(rng, n)[0]))
            assert not check.one_class
            assert check.gain > 0


def test_two_distinct_values_are_cut_between():
    fit = fit_classes([70, 30], [0, 255])
    assert 0 <= fit.thresholds[0] < 255
    assert not check_one_class([70, 30], [0, 255]).one_class
    assert check_one_class([70], [5]).one_class


@pytest.mark.parametrize(
    ("counts", "centres", "options", "message"),
    [
        ([1, 2], [0, 1, 2], {}, "equally long"),
        ([1, -2], [0, 1], {}, "not negative"),
        ([1, 2], [1, 0], {}, "rise"),
        ([5, 0], [0, 1], {}, "1 distinct intensities, too few"),
        ([5, 5], [0, 1], {"n_classes": 1}, "2 or more"),
        ([5, 5], [0, 1], {"strength": -1.0}, "strength"),
    ],
)
def test_what_is_wrong_with_a_histogram_is_said(counts, centres, options, message):
    with pytest.raises(InputError, match=message):
        fit_classes(counts, centres, **options)
