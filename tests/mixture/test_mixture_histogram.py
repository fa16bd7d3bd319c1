"""Histograms of one channel: bins, fits on them, and cuts between components."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

from gmmseg.checks import InputError
from gmmseg.mixture import em, histogram, start
from gmmseg.mixture.model import Mixture
from gmmseg.spatial.levels import levels_of

TRUTH = Mixture([0.2, 0.45, 0.35], [[30.0], [70.0], [110.0]], [[[64.0]], [[81.0]], [[49.0]]])


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.int64, np.float32, np.float64])
def test_whole_numbers_get_a_bin_each(dtype):
    image = np.array([[3, 5, 5], [9, 3, 3]], dtype=dtype)
    centres, counts = histogram.weighted_bins(image, n_bins=2)
    assert centres.ravel().tolist() == [3, 5, 9]
    assert counts.tolist() == [3, 2, 1]
    assert centres.dtype.kind == "i"


def test_bins_hold_every_voxel_and_leave_nan_out():
    values = np.append(np.random.default_rng(0).normal(size=1000), np.nan)
    centres, counts = histogram.weighted_bins(values, n_bins=64)
    assert counts.sum() == 1000
    assert (counts > 0).all()
    assert len(centres) <= 64


def test_bins_of_an_integer_image_give_the_answer_of_its_voxels():
    values = np.rint(TRUTH.sample(5000, np.random.default_rng(0))[0])
    centres, counts = histogram.weighted_bins(values)
    begin = start.quantile(values, 3)
    options = {"variance_prior": em.VariancePrior(floor=1 / 12), "max_iter": 100}
    by_bin = histogram.fit_histogram(counts, centres, start=begin, tol=1e-6, **options)
    by_voxel = em.fit(values, begin, tol=1e-6, **options)
    assert_allclose(by_bin.mixture.means, by_voxel.mixture.means, atol=1e-6)
    assert_allclose(by_bin.mixture.covariances, by_voxel.mixture.covariances, atol=1e-6)


def test_wide_bins_do_not_widen_the_components():
    """One Gaussian, bins as wide as a deviation: Sheppard's correction takes w^2/12 off."""
    values = np.random.default_rng(0).normal(50, 10, 200_000)
    edges = np.arange(-10.0, 120.0, 10.0)
    counts, _ = np.histogram(values, edges)
    fit = histogram.fit_histogram(counts, n_components=1, edges=edges)
    standard_error = 100 * np.sqrt(2 / len(values))
    assert fit.mixture.covariances.item() == pytest.approx(100, abs=4 * standard_error)
    plain = histogram.fit_histogram(counts, n_components=1, edges=edges, width=0)
    assert plain.mixture.covariances.item() - 100 / 12 == pytest.approx(100, abs=1)  # the control


def test_planted_tissues_are_found_in_order():
    values, _ = TRUTH.sample(100_000, np.random.default_rng(1))
    centres, counts = histogram.weighted_bins(values, n_bins=256)
    mixture = histogram.fit_histogram(counts, centres, 3).mixture
    assert_allclose(mixture.means, TRUTH.means, atol=0.4)
    assert_allclose(mixture.weights, TRUTH.weights, atol=0.01)


def test_the_objective_of_a_histogram_never_falls():
    values, _ = TRUTH.sample(2000, np.random.default_rng(2))
    centres, counts = histogram.weighted_bins(values, n_bins=40)
    fit = histogram.fit_histogram(counts, centres, 3, tol=-np.inf, max_iter=200)
    assert np.diff(fit.objective).min() >= -1e-11


def test_all_cuts_are_found_and_none_too_many():
    """Brute force: where the label changes on a fine grid."""
    rng = np.random.default_rng(3)
    for _ in range(50):
        k = rng.integers(2, 6)
        mixture = Mixture(
            rng.dirichlet(np.ones(k)), rng.uniform(0, 100, (k, 1)),
            rng.uniform(1, 400, (k, 1, 1)),
        )  # fmt: skip
        grid = np.linspace(-500, 600, 1_100_001)
        label = histogram.classify(grid, mixture)
        changes = grid[:-1][np.diff(label) != 0]
        cuts = histogram.cuts(mixture)
        inside = cuts[(cuts > -500) & (cuts < 600)]
        assert len(inside) == len(changes)
        assert_allclose(inside, changes, atol=0.002)


def test_a_nested_component_is_cut_off_on_both_sides():
    nested = Mixture([0.5, 0.5], [[0.0], [0.0]], [[[1.0]], [[9.0]]])
    edge = np.sqrt(np.log(9) / (1 - 1 / 9))  # where both densities are equal
    assert_allclose(histogram.cuts(nested), [-edge, edge], atol=1e-12)


def test_equal_components_have_no_cut():
    same = Mixture([0.5, 0.5], [[1.0], [1.0]], [[[2.0]], [[2.0]]])
    assert histogram.cuts(same).size == 0


def test_labels_are_those_of_the_largest_posterior():
    values = np.linspace(0, 150, 500)
    posterior = histogram.posteriors(values, TRUTH)
    assert np.array_equal(histogram.classify(values, TRUTH), posterior.argmax(axis=-1))
    assert histogram.classify([np.nan, 30.0], TRUTH).tolist() == [-1, 0]


def test_quantiles_invert_the_distribution_function():
    p = np.array([1e-9, 0.01, 0.2, 0.5, 0.99])
    assert_allclose(histogram.cdf(histogram.quantile_function(p, TRUTH), TRUTH), p, rtol=1e-6)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"counts": [1, 2], "centres": [1, 2, 3], "n_components": 1}, "equally long"),
        ({"counts": [1, -2], "centres": [1, 2], "n_components": 1}, "not negative"),
        ({"counts": [0, 0], "centres": [1, 2], "n_components": 1}, "not all zero"),
        ({"counts": [1, 2], "centres": [2, 1], "n_components": 1}, "rise"),
        ({"counts": [1, 2], "centres": [1, 2]}, "n_components or start"),
        ({"counts": [1, 2], "n_components": 1}, "either centres or edges"),
        ({"counts": [1, 2], "centres": [1, 2], "n_components": 3}, "distinct"),
        ({"counts": [1, 2], "edges": [0, 1, 5], "n_components": 1}, "equally spaced"),
    ],
)
def test_histograms_that_make_no_sense_are_refused(arguments, message):
    with pytest.raises(InputError, match=message):
        histogram.fit_histogram(**arguments)


@pytest.mark.parametrize("values", [[], [np.nan, np.nan], [np.inf, 1.0], ["a"]])
def test_images_without_numbers_are_refused(values):
    with pytest.raises(InputError, match="samples"):
        histogram.weighted_bins(values)


def test_two_channels_are_fitted_on_their_joint_histogram():
    """Bins of one deviation: the correction takes them off the diagonal alone."""
    covariance = np.array([[4.0, 2.0], [2.0, 9.0]])
    truth = Mixture([0.4, 0.6], [[0.0, 0.0], [20.0, 10.0]], [covariance, np.eye(2) * 4])
    values, _ = truth.sample(200_000, np.random.default_rng(0))
    edges = (np.arange(-20.0, 40.0, 2.0), np.arange(-20.0, 40.0, 2.0))
    counts, *_ = np.histogram2d(*values.T, bins=edges)
    mixture = histogram.fit_histogram(counts, n_components=2, edges=edges).mixture
    error = 5 * 9 * np.sqrt(2 / 80_000)  # five standard errors of the widest variance
    assert_allclose(mixture.covariances, truth.covariances, atol=error)
    assert_allclose(mixture.means, truth.means, atol=0.05)


def test_two_channels_of_integers_are_exact():
    rng = np.random.default_rng(1)
    values = np.rint(np.concatenate([rng.normal(5, 2, (500, 2)), rng.normal(15, 3, (500, 2))]))
    x, y = (np.arange(values[:, c].min(), values[:, c].max() + 1).astype(int) for c in (0, 1))
    counts = np.zeros((len(x), len(y)))
    np.add.at(counts, tuple((values - [x[0], y[0]]).astype(int).T), 1)
    prior = em.VariancePrior(floor=0.1)
    begin = start.quantile(values, 2)
    grid = histogram.fit_histogram(
        counts, (x, y), start=begin, variance_prior=prior, max_iter=50, tol=0.0
    )
    rows = em.fit(values, begin, variance_prior=prior, max_iter=50, tol=0.0)
    assert_allclose(grid.mixture.covariances, rows.mixture.relabelled().covariances, atol=1e-8)


def test_bins_are_numpys():
    values = np.random.default_rng(0).gamma(2.0, 30.0, 200_001)
    centres, counts = histogram.weighted_bins(values.astype(np.float32), n_bins=100)
    expected, edges = np.histogram(values.astype(np.float32), bins=100)
    used = expected > 0
    assert np.array_equal(counts, expected[used])
    assert_allclose(centres[:, 0], (0.5 * (edges[:-1] + edges[1:]))[used], rtol=1e-6)


@pytest.mark.parametrize("dtype", [np.int16, np.int8, np.uint16])
def test_the_full_range_of_an_integer_type_does_not_overflow(dtype):
    ends = np.iinfo(dtype)
    centres, counts = histogram.weighted_bins(np.array([ends.min, ends.max, ends.max], dtype))
    assert centres.ravel().tolist() == [ends.min, ends.max]
    assert counts.tolist() == [1, 2]
    from gmmseg.mixture.levels import as_levels

    column = np.repeat(np.array([ends.min, ends.max], dtype), 200_000)[:, None]
    levels, weights = as_levels(column, None)
    assert levels.ravel().tolist() == [ends.min, ends.max]
    assert weights.tolist() == [200_000, 200_000]


@pytest.mark.parametrize(
    ("scale", "offset", "message"),
    [
        (1e153, 0, "squares leave the range of numbers; scale them"),
        (1e-170, 0, "squares leave the range of numbers; scale them"),
        (1, 1e15, "too close together .* subtract 1e\\+15"),
        (1, 1e17, "too close together .* subtract 1e\\+17"),
    ],
)
def test_values_whose_bins_would_be_none_are_refused(scale, offset, message):
    values = np.random.default_rng(0).normal(100, 10, 1000) * scale + offset
    for make in (lambda: histogram.weighted_bins(values, 4096), lambda: levels_of(values)):
        with pytest.raises(InputError, match=message):
            make()


def test_whole_numbers_with_gaps_are_still_exact():
    centres, counts = histogram.weighted_bins([1.0, np.nan, 4.0, 4.0])
    assert (centres.ravel().tolist(), counts.tolist()) == ([1, 4], [1, 2])
    assert centres.dtype.kind == "i"


def test_a_constant_image_is_one_bin():
    centres, counts = histogram.weighted_bins(np.full(7, 0.5))
    assert (centres.ravel().tolist(), counts.tolist()) == ([0.5], [7])
