"""Fractions of mixed voxels, against voxels that were mixed here."""

import numpy as np
import pytest
from scipy import ndimage

from gmmseg.checks import InputError
from gmmseg.spatial.partial import N_PARTS, estimate_fractions, mixing_levels
from gmmseg.spatial.partial_kernels import _exponentials

MEANS = np.array([95.0, 130.0, 40.0])  # GM, WM, CSF
NOISE = 9.0
SHAPE = (40, 36, 33)
SPACING = (1.0, 1.0, 1.0)


def rmse(found, truth, where=...):
    """Root mean square over voxels and the three tissues."""
    return float(np.sqrt(np.mean((found[where] - truth[where]) ** 2)))


@pytest.fixture(scope="module")
def mixed():
    """True fractions of smooth CSF, GM and WM with mixed borders: intensities, mask, truth."""
    rng = np.random.default_rng(3)
    depth = ndimage.gaussian_filter(rng.standard_normal(SHAPE), 3)
    depth = np.clip(1 + 2.5 * depth / depth.std(), 0, 2)  # 0 CSF, 1 GM, 2 WM; many are pure
    csf, wm = np.clip(1 - depth, 0, 1), np.clip(depth - 1, 0, 1)
    truth = np.stack([1 - csf - wm, wm, csf], axis=-1)
    brain = np.ones(SHAPE, bool)
    brain[:3] = False
    return truth @ MEANS + NOISE * rng.standard_normal(SHAPE), brain, truth


def fit(values, brain, *, means=MEANS, variance=NOISE**2, **options):
    """Estimate with a prior that says nothing."""
    flat = np.zeros((*values.shape, 3), np.float32)
    return estimate_fractions(values, brain, flat, SPACING, means, variance, **options)


@pytest.fixture(scope="module")
def result(mixed):
    return fit(*mixed[:2])


@pytest.mark.parametrize("pair", [(0, 1), (0, 2)])
def test_voxels_without_noise_get_their_exact_fraction(pair):
    """The grid holds these fractions; .001 is what float32 and the floor of the noise leave."""
    share = np.repeat(np.arange(N_PARTS + 1) / N_PARTS, 40)
    truth = np.zeros((len(share), 1, 1, 3))
    truth[:, 0, 0, pair[0]], truth[:, 0, 0, pair[1]] = share, 1 - share
    found = fit(truth @ MEANS, np.ones(truth.shape[:3], bool), variance=1.0, coupling=0.0)
    np.testing.assert_allclose(found.fractions, truth, atol=1e-3)


def test_fractions_sum_to_one_in_the_brain_and_to_zero_outside(mixed, result):
    brain = mixed[1]
    assert result.fractions.dtype == np.float32
    np.testing.assert_allclose(result.fractions[brain].sum(-1), 1, atol=1e-5)
    assert result.fractions.min() >= 0
    assert not result.fractions[~brain].any()


def test_fractions_are_nearer_the_truth_than_posteriors_of_pure_classes(mixed, result):
    """Posteriors by the true means and noise, which is more than a mixture can know.

    .64 of their error was reached: a quarter of the contrast of GM and WM is noise here.
    """
    values, brain, truth = mixed
    log_density = -((values[..., None] - MEANS) ** 2) / (2 * NOISE**2)
    pure = np.exp(log_density - log_density.max(-1, keepdims=True))
    pure /= pure.sum(-1, keepdims=True)
    assert rmse(result.fractions, truth, brain) < 0.75 * rmse(pure, truth, brain)


def test_neighbours_take_noise_out_of_the_fractions(mixed, result):
    values, brain, truth = mixed
    alone = fit(values, brain, coupling=0.0)
    assert rmse(result.fractions, truth, brain) < 0.8 * rmse(alone.fractions, truth, brain)


def test_the_means_of_pure_tissue_are_found_from_a_wrong_start(mixed):
    """A mixture of pure classes is drawn inwards; 4 is a tenth of the least contrast."""
    values, brain, _ = mixed
    found = fit(values, brain, means=[92.0, 122.0, 52.0], variance=200.0)
    np.testing.assert_allclose(found.means, MEANS, atol=4)
    assert np.sqrt(found.variance) == pytest.approx(NOISE, rel=0.15)


def test_no_sweep_lowers_the_objective(mixed):
    values, brain, _ = mixed
    found = fit(values, brain, means=[92.0, 122.0, 52.0], variance=200.0)
    assert len(found.objective) > 2
    assert np.diff(found.objective).min() >= -1e-6  # float32 sums over 24 levels


def test_the_unit_of_intensities_does_not_matter(mixed, result):
    values, brain, _ = mixed
    for factor, offset in ((1e-3, 0.0), (1e5, 0.0), (1.0, 500.0)):
        start = factor * MEANS + offset
        found = fit(factor * values + offset, brain, means=start, variance=(factor * NOISE) ** 2)
        # Rounded otherwise in float32, a level's weight changes in the fourth digit at most.
        np.testing.assert_allclose(found.fractions, result.fractions, atol=2e-3)


def test_inverted_contrast_gives_the_same_fractions(mixed, result):
    values, brain, _ = mixed
    found = fit(200 - values, brain, means=200 - MEANS)
    np.testing.assert_allclose(found.fractions, result.fractions, atol=2e-3)


def test_the_number_of_threads_changes_no_bit(mixed, alone_and_together):
    alone, together = alone_and_together(lambda: fit(*mixed[:2]))
    np.testing.assert_array_equal(alone.fractions, together.fractions)
    np.testing.assert_array_equal(alone.objective, together.objective)


def test_a_missing_voxel_takes_after_its_neighbours(mixed, result):
    values, brain, truth = mixed
    holes = values.copy()
    holes[5::6, ::6, ::6] = np.nan
    lost = np.isnan(holes) & brain
    found = fit(holes, brain).fractions
    assert np.isfinite(found).all()
    # Chance, for comparison: the same voxels, each given the fractions of another.
    shuffled = np.random.default_rng(0).permutation(found[lost])
    assert rmse(found, truth, lost) < 0.6 * float(np.sqrt(np.mean((shuffled - truth[lost]) ** 2)))


def test_the_prior_tells_apart_what_intensity_cannot():
    """White matter mixed with CSF looks like grey matter; near the ventricle no GM is expected."""
    values = np.full((6, 6, 6), 85.0)  # half WM, half CSF
    log_prior = np.log(np.broadcast_to([1e-3, 0.5, 0.499], (*values.shape, 3)))
    options = (SPACING, MEANS, 25.0)
    brain = np.ones(values.shape, bool)
    told = estimate_fractions(values, brain, log_prior, *options, n_sweeps=1)
    untold = estimate_fractions(values, brain, 0 * log_prior, *options, n_sweeps=1)
    assert told.fractions[..., 0].mean() < 0.3 < 0.7 < untold.fractions[..., 0].mean()


def test_levels_cover_pure_voxels_and_all_pairs():
    levels, _ = mixing_levels()
    np.testing.assert_array_equal(levels[:3], np.eye(3))
    np.testing.assert_allclose(levels.sum(1), 1)
    assert ((levels > 0).sum(1)[3:] == 2).all()


def test_means_that_are_known_to_lie_elsewhere_in_a_part_are_taken_from_there(mixed):
    """White matter of a quarter is nearer to grey; one mean for all takes it for a mixture.

    .66 of the error without was reached.
    """
    values, brain, truth = mixed
    away = np.zeros((*SHAPE, 3))
    away[:, : SHAPE[1] // 4, :, 1] = -15.0
    painted = values + (truth * away).sum(-1)
    told = fit(painted, brain, away=away)
    untold = fit(painted, brain)
    assert told.by_part
    assert not untold.by_part
    assert rmse(told.fractions, truth, brain) < 0.85 * rmse(untold.fractions, truth, brain)
    np.testing.assert_allclose(told.means, MEANS, atol=4)
    assert np.sqrt(told.variance) == pytest.approx(NOISE, rel=0.15)
    assert told.objective[-1] > untold.objective[-1]
    assert np.diff(told.objective).min() >= -1e-6


def test_means_that_lie_nowhere_else_change_nothing(mixed, result):
    values, brain, truth = mixed
    told = fit(values, brain, away=np.zeros(truth.shape))
    np.testing.assert_array_equal(told.fractions, result.fractions)
    np.testing.assert_array_equal(told.objective, result.objective)


def test_distances_of_means_that_do_not_fit_the_image_are_refused():
    with pytest.raises(InputError, match="away must be"):
        fit(np.zeros((4, 4, 4)), np.ones((4, 4, 4), bool), away=np.zeros((4, 4, 3, 3)))


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"brain": np.zeros((4, 4, 4), bool)}, "no voxel"),
        ({"brain": np.ones((4, 4, 3), bool)}, "must be"),
        ({"means": [1.0, 1.0, 1.0]}, "that differ"),
        ({"means": [1.0, np.nan, 2.0]}, "finite"),
        ({"variance": 0.0}, "above 0"),
    ],
)
def test_what_cannot_be_used_is_refused_in_one_sentence(changed, message):
    given = {"brain": np.ones((4, 4, 4), bool), "means": MEANS, "variance": 1.0, **changed}
    with pytest.raises(InputError, match=message):
        fit(np.zeros((4, 4, 4)), **given)


def test_the_kernels_exponentials_are_numpys(rng):
    levels = rng.random((3, 24), dtype=np.float32)
    for spread in (1.0, 10.0, 200.0):
        below = (-spread * rng.random(24)).astype(np.float32)
        below[7] = 0.0  # the largest
        expected = np.exp(below.astype(np.float64))
        p = below + np.float32(40)
        top, *sums = _exponentials(p, np.empty(24, np.int32), levels)
        assert top == 40
        np.testing.assert_allclose(p, expected, rtol=5e-6, atol=4e-8)  # float32 keeps 40 to 4e-6
        np.testing.assert_allclose(sums, [expected.sum(), *(levels @ expected)], rtol=1e-5)
