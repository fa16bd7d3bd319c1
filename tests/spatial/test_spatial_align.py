"""The affine alignment: known perturbations of the sample head, and an objective that climbs."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import ndimage

from gmmseg import volume
from gmmseg.checks import InputError
from gmmseg.spatial import align
from gmmseg.spatial.affine_pass import learn_histograms
from gmmseg.spatial.atlas import Blurred
from gmmseg.spatial.information import place_information
from gmmseg.spatial.sampling import sample_prior
from gmmseg.spatial.starts import Start, starting_points
from gmmseg.template import icbm_head_atlas

STEP = 2  # of the 2 mm sample: 4 mm


@pytest.fixture(scope="module")
def head(sample_t1, sample_truth):
    """Coarse values, their affine, the brain in them and the corners of the brain's box, mm."""
    scan = volume.read(sample_t1)
    thin = (slice(None, None, STEP),) * 3
    affine = scan.affine @ np.diag([STEP, STEP, STEP, 1.0])
    where = np.argwhere(sample_truth > 0)
    box = np.stack([where.min(0), where.max(0)])
    corners = np.array([[box[i, 0], box[j, 1], box[k, 2], 1] for i, j, k in np.ndindex(2, 2, 2)])
    values = np.asarray(scan.data, dtype=np.float32)[thin]
    return values, affine, sample_truth[thin] > 0, corners @ scan.affine.T


@pytest.fixture(scope="module")
def plain(head):
    """The fit to the head as it lies."""
    return align.fit_head(head[0], head[1], Blurred.of(icbm_head_atlas()))


def perturbed(shift=(0, 0, 0), pitch=0.0, roll=0.0, yaw=0.0, scale=(1, 1, 1), shear=(0, 0, 0)):
    """World mm to world mm: all twelve parameters; angles in degrees."""
    turn = np.eye(3)
    for axis, angle in enumerate(np.deg2rad([pitch, roll, yaw])):
        c, s = np.cos(angle), np.sin(angle)
        i, j = [(1, 2), (2, 0), (0, 1)][axis]
        one = np.eye(3)
        one[[i, i, j, j], [i, j, i, j]] = c, -s, s, c
        turn = one @ turn
    slant = np.eye(3)
    slant[0, 1], slant[0, 2], slant[1, 2] = shear
    matrix = np.eye(4)
    matrix[:3, :3] = turn @ slant @ np.diag(scale)
    matrix[:3, 3] = shift
    return matrix


@pytest.mark.parametrize(
    "how",
    [
        {"shift": (35, -60, 80)},
        {"pitch": 15.0},
        {"yaw": 8.0, "roll": -6.0},
        {"scale": (1.08, 0.94, 1.05)},
        {"shear": (0.05, -0.04, 0.05)},
        {
            "shift": (-20, 15, 30), "pitch": -8.0, "roll": 4.0, "yaw": 5.0,
            "scale": (0.97, 1.05, 1.03), "shear": (0.02, 0.02, -0.03),
        },
    ],
    ids=["shift", "pitch", "turn", "scale", "shear", "all twelve"],
)  # fmt: skip
def test_a_known_perturbation_is_recovered_to_2_mm_at_the_corners_of_the_brain(head, plain, how):
    """The perturbed head's map, after the perturbation, is the map of the head as it lay.

    Shifts and turns come back to .6 mm; scales and shears to 1.7 mm, because stretching costs.
    """
    values, affine, _, corners = head
    moved = perturbed(**how)
    fit = align.fit_head(values, moved @ affine, Blurred.of(icbm_head_atlas()))
    back = np.linalg.inv(plain.matrix) @ fit.matrix @ moved
    distance = np.linalg.norm((corners @ back.T - corners)[:, :3], axis=1)
    assert distance.max() < 2.0, distance.round(2)


@pytest.mark.parametrize("size", [0.7, 1.3])
def test_the_size_of_a_head_is_found_even_where_no_adult_has_it(head, plain, size):
    values, affine, brain, corners = head
    small = np.diag([size, size, size, 1.0])
    atlas = Blurred.of(icbm_head_atlas())
    for fit, reference in (
        (align.fit_head(values, small @ affine, atlas), plain),
        (align.fit_masked(values, brain, small @ affine, atlas),
         align.fit_masked(values, brain, affine, atlas)),
    ):  # fmt: skip
        back = np.linalg.inv(reference.matrix) @ fit.matrix @ small
        distance = np.linalg.norm((corners @ back.T - corners)[:, :3], axis=1)
        assert distance.max() < 3.0, distance.round(2)


@pytest.mark.parametrize("side", [(1, 1, 0.7), (0.75, 1, 1), (1, 0.75, 1), (1, 0.85, 0.7)])
def test_a_head_whose_voxels_are_longer_than_its_header_says_is_found(head, plain, side):
    """3.1 mm at most from the head as it lies; without the start of a small head 7 to 22 mm."""
    values, affine, _, corners = head
    squashed = np.diag([*side, 1.0])
    fit = align.fit_head(values, squashed @ affine, Blurred.of(icbm_head_atlas()))
    back = np.linalg.inv(plain.matrix) @ fit.matrix @ squashed
    distance = np.linalg.norm((corners @ back.T - corners)[:, :3], axis=1)
    assert distance.max() < 4.0, distance.round(2)


def test_a_head_as_it_comes_is_no_small_one(plain):
    """Negative control: the weaker strain alone does not make the small head win."""
    assert (plain.size, plain.cost) == (1.0, 0.0)


def test_the_starts_alone_are_far_from_what_is_found(head, plain):
    """Negative control: 22 mm at the best, so that the fits above had a way to go."""
    _, affine, brain, corners = head
    points = np.argwhere(brain) @ affine[:3, :3].T + affine[:3, 3]
    for first in starting_points(points, alone=True):
        moved = corners @ (np.linalg.inv(plain.matrix) @ first.matrix).T - corners
        assert np.linalg.norm(moved[:, :3], axis=1).max() > 10.0


def overlap(matrix, affine, brain):
    """Dice of the brain of the aligned atlas with the true one."""
    atlas = icbm_head_atlas()
    to_atlas = np.linalg.inv(atlas.affine) @ matrix @ affine
    index = np.stack(np.indices(brain.shape), axis=-1).reshape(-1, 3)
    prior = np.empty((len(index), len(atlas.names)), np.float32)
    points = index @ to_atlas[:3, :3].T + to_atlas[:3, 3]
    sample_prior(atlas.maps, np.ascontiguousarray(points), prior)
    inside = prior[:, : atlas.n_inside].sum(1).reshape(brain.shape) > 0.5
    return 2 * np.count_nonzero(inside & brain) / (inside.sum() + brain.sum())


def test_the_aligned_atlas_covers_the_true_brain(head, plain):
    """What an affine map can do for a bent brain: .948 was reached; 4 mm off it is .934 or less."""
    assert overlap(plain.matrix, head[1], head[2]) > 0.94
    for axis in range(3):
        off = plain.matrix.copy()
        off[axis, 3] += 4.0
        assert overlap(off, head[1], head[2]) < 0.94


def test_a_given_brain_mask_aligns_the_atlas_too(head):
    values, affine, brain, _ = head
    fit = align.fit_masked(values, brain, affine, Blurred.of(icbm_head_atlas()))
    assert overlap(fit.matrix, affine, brain) > 0.94
    assert np.diff(fit.objective).min() >= -1e-9


def test_missing_voxels_do_not_upset_the_alignment(head, plain):
    values, affine, _, corners = head
    holes = values.copy()
    holes[np.random.default_rng(0).random(values.shape) < 0.02] = np.nan
    fit = align.fit_head(holes, affine, Blurred.of(icbm_head_atlas()))
    moved = corners @ (np.linalg.inv(plain.matrix) @ fit.matrix).T - corners
    assert np.linalg.norm(moved[:, :3], axis=1).max() < 2.0


@pytest.fixture(scope="module")
def drawn():
    """Points of the head atlas and bins drawn from a histogram of each class."""
    rng = np.random.default_rng(8)
    atlas = icbm_head_atlas().smoothed(1.5)
    points = rng.uniform([-75, -105, -60], [75, 75, 85], (4000, 3))
    index = (points - atlas.affine[:3, 3]) / np.diag(atlas.affine)[:3]
    prior = np.empty((4000, len(atlas.names)), np.float32)
    sample_prior(atlas.maps, index, prior)
    chance = prior.cumsum(1) / prior.sum(1, keepdims=True)
    owner = np.minimum((rng.random((4000, 1)) > chance).sum(1), len(atlas.names) - 1)
    level = np.array([34, 50, 14, 40, 5, 30, 2])[owner] + np.rint(3 * rng.standard_normal(4000))
    return atlas, points, np.clip(level, 0, 63).astype(int), prior


def test_no_round_of_the_climb_lowers_the_objective(drawn):
    """To the end, with no tolerance: at the maximum only rounding moves it."""
    atlas, points, bins, _ = drawn
    start = perturbed(shift=(6, -5, 4), pitch=5.0, scale=(1.05, 0.97, 1.02))
    fit = align._climb(points, bins, atlas, Start(start), n_iter=60, tol=-1.0)
    assert len(fit.objective) > 10
    assert np.diff(fit.objective).min() >= -1e-9
    corners = np.array([[x, y, z, 1] for x in (-70, 70) for y in (-100, 70) for z in (-50, 80)])
    assert np.linalg.norm((corners @ fit.matrix.T - corners)[:, :3], axis=1).max() < 2.0


def histogram_objective(prior, bins, histograms):
    evidence = (prior * histograms.T[bins]).sum(1)
    return np.log(evidence).sum() + align.PSEUDO_SAMPLES / 64 * np.log(histograms).sum()


def test_learning_the_histograms_never_lowers_their_posterior(drawn):
    _, _, bins, prior = drawn
    pseudo = align.PSEUDO_SAMPLES / 64

    def learnt_once(histograms):
        return learn_histograms(prior.astype(np.float64), bins, histograms, 1, pseudo)

    plain, rises = learnt_once(np.ones((prior.shape[1], 64))), []
    for _ in range(40):
        before = histogram_objective(prior, bins, plain)
        plain = learnt_once(plain)
        rises.append(histogram_objective(prior, bins, plain) - before)
    assert min(rises) >= -1e-8  # of some 1e4 nats
    # Negative control: with a blur after it, an update is no EM step.
    blurred = ndimage.gaussian_filter1d(learnt_once(plain), 1.0, axis=1)
    fall = histogram_objective(prior, bins, blurred) - histogram_objective(prior, bins, plain)
    assert fall < -1.0


def test_the_strain_of_a_turn_costs_nothing_and_its_gradient_is_right(rng):
    def strain(matrix, size=1.3):
        return align._penalty(matrix, size)[0]

    turned = perturbed(pitch=20.0, yaw=10.0, scale=(1.3, 1.3, 1.3))
    assert strain(turned) == pytest.approx(0, abs=1e-12)
    assert strain(turned, 1.0) > 0.1
    matrix = perturbed(scale=(1.1, 0.9, 1.2), shear=(0.1, 0.2, -0.1), roll=7.0)
    _, gradient, _ = align._penalty(matrix, 1.3)
    for i in range(9):
        step = np.zeros((4, 4))
        step[i // 3, i % 3] = 1e-6
        numeric = (strain(matrix + step) - strain(matrix - step)) / 2e-6
        assert gradient[i] == pytest.approx(numeric, abs=1e-8)


def test_an_image_with_nothing_in_it_is_refused():
    with pytest.raises(InputError, match="No head stands out"):
        align.fit_head(
            np.zeros((30, 30, 30)), np.diag([4.0, 4, 4, 1]), Blurred.of(icbm_head_atlas())
        )


def test_an_image_on_which_the_template_falls_flat_is_refused():
    """A slab of stripes: seen edge on, it fits the template better than any brain in it would."""
    ramp = np.tile(np.arange(64, dtype=np.float32)[:, None, None], (1, 64, 10))
    affine = np.diag([3.0, 3.0, 3.0, 1.0])
    affine[:3, 3] = [-94.5, -94.5, -13.5]
    with pytest.raises(InputError, match="seems to show no head"):
        align.fit_head(ramp, affine, Blurred.of(icbm_head_atlas()))


def test_samples_that_the_atlas_says_nothing_of_leave_the_map_where_it_was(rng):
    """As of a head in micrometres, read as mm: there is no slope, and no way up."""
    points, bins = rng.uniform(1e5, 2e5, (2000, 3)), rng.integers(0, align.N_BINS, 2000)
    fit = align.fit_affine(points, bins, Blurred.of(icbm_head_atlas()), [Start(np.eye(4))])
    np.testing.assert_array_equal(fit.matrix, np.eye(4))


def test_a_mask_of_a_few_voxels_is_refused():
    mask = np.zeros((30, 30, 30), bool)
    mask[10:13, 10:13, 10:13] = True
    with pytest.raises(InputError, match="too small"):
        align.fit_masked(
            np.ones(mask.shape), mask, np.diag([4.0, 4, 4, 1]), Blurred.of(icbm_head_atlas())
        )


def test_starts_that_lead_to_the_same_place_are_refined_once():
    here, near, far = placed((0, 0, 0), -3.0), placed((1, -2, 3), -2.9), placed((0, 30, 0), -3.5)
    assert align._distinct([here, near, far]) == [near, far]
    assert align._distinct([far, here]) == [here, far]
    small = placed((0, 0, 0), -3.1, size=1.25)
    assert align._distinct([here, small]) == [here, small]  # another size: it may yet win


def test_a_place_that_describes_face_and_neck_well_loses_to_one_whose_brain_tells_more():
    """Figures of a head with a neck, smoothed a little: the first lies across face and neck."""
    astray, right = placed((0, 60, 50), -3.727, told=0.030), placed((0, 0, 0), -3.743, told=0.110)
    assert align._distinct([astray, right]) == [right, astray]
    assert align._distinct([replace(astray, information=0.110), right])[0].objective == -3.727


def placed(shift, value, size=1.0, told=0.0):
    """A fit that moves the head by ``shift``."""
    matrix = np.eye(4)
    matrix[:3, 3] = shift
    return align.AffineFit(matrix, np.array([value]), np.ones((1, 1)), told, size, 0.0)


def test_samples_without_weight_say_nothing_of_what_places_tell(rng):
    """Two tissues in halves of the brain, half of all samples: ln 2 where they look different."""
    prior = np.zeros((400, 2))
    prior[:100, 0] = prior[100:200, 1] = 1.0
    inside = prior.sum(axis=1)
    apart = np.where(np.arange(400)[:, None] % 200 < 100, [1.0, 1e-9], [1e-9, 1.0])
    apart[200:] = rng.random((200, 2))
    assert place_information(prior, apart, inside) == pytest.approx(np.log(2))
    assert place_information(prior[:200], apart[:200]) == pytest.approx(np.log(2))
    alike = np.ones((400, 2))
    assert place_information(prior, alike, inside) == pytest.approx(0.0)
    swapped = apart[:200][::-1]  # each tissue where the other should be
    assert place_information(prior[:200], swapped) < 0
    assert np.isnan(place_information(prior, apart, np.zeros(400)))


def test_a_brain_laid_across_the_face_tells_less(head, plain):
    atlas = Blurred.of(icbm_head_atlas())
    inside = ndimage.binary_dilation(head[2], iterations=6)
    points = np.argwhere(inside) @ head[1][:3, :3].T + head[1][:3, 3]
    bins = align._binned(head[0][inside], align.N_BINS)

    def climbed(matrix):
        start = Start(matrix @ plain.matrix)
        return align._climb(points, bins, atlas.fine, start, n_iter=10, tol=1e-4).information

    assert climbed(np.eye(4)) > 3 * climbed(perturbed(shift=(0, -40, -40), pitch=55.0))


def test_a_place_that_the_coarse_atlas_ranks_second_can_win(head, monkeypatch):
    """The start that is best by the coarse atlas leads astray here: its fine climb is spoilt."""
    values, affine = head[0], head[1]
    whole = align.fit_head(values, affine, Blurred.of(icbm_head_atlas()))
    climb, turned = align._climb, np.diag([-1.0, -1.0, 1.0, 1.0])

    def misled(points, bins, atlas, start, **kwargs):
        fit = climb(points, bins, atlas, start, **kwargs)
        if kwargs["n_iter"] == 30 and start is misled.first:  # a coarse climb
            return replace(fit, matrix=turned @ fit.matrix, objective=fit.objective + 1.0)
        return fit

    starts = align.starting_points

    def marked(*args, **kwargs):
        found = starts(*args, **kwargs)
        misled.first = found[0]
        return found

    monkeypatch.setattr(align, "_climb", misled)
    monkeypatch.setattr(align, "starting_points", marked)
    again = align.fit_head(values, affine, Blurred.of(icbm_head_atlas()))
    np.testing.assert_allclose(again.matrix, whole.matrix, atol=0.01)


def test_a_stray_value_beyond_any_integer_is_in_the_last_bin(rng):
    values = rng.normal(100.0, 10.0, 1000)
    values[3] = 1e20
    bins = align._binned(values, 32)
    assert bins[3] == 31
    np.testing.assert_array_equal(
        np.delete(bins, 3), np.delete(align._binned(np.clip(values, None, 1e6), 32), 3)
    )
