"""The simulated head: its truth is consistent with its image, and it can be made again."""

import nibabel as nib
import numpy as np
import pytest

from gmmseg import InputError
from gmmseg.simulate import T1_MEANS, HeadSettings, simulate_head


@pytest.fixture(scope="module")
def ball():
    """Maps of a ball-shaped brain, 4 mm: white core, grey shell, fluid rim; and their affine."""
    affine = np.diag([4.0, 4, 4, 1])
    affine[:3, 3] = -78
    axis = np.arange(40) * 4.0 - 78
    radius = np.sqrt(axis[:, None, None] ** 2 + axis[:, None] ** 2 + axis**2)
    edges = 1 / (1 + np.exp((radius[..., None] - [40, 55, 60]) / 2))
    white, grey_too, brain = np.moveaxis(edges, -1, 0)
    maps = np.stack([grey_too - white, white, np.clip(brain - grey_too, 0, 1)], axis=-1)
    return np.where(brain[..., None] > 0.5, maps, 0), affine


def draw(ball, seed=3, *, spacing=(6.0, 6.0, 6.0), **settings):
    affine = np.diag([*spacing, 1.0])
    affine[:3, 3] = -93
    shape = tuple(int(186 / s) + 1 for s in spacing)
    chosen = HeadSettings(**{"subvoxel": 3.0, **settings})
    return simulate_head(*ball, shape, affine, np.random.default_rng(seed), chosen)


def test_the_same_generator_gives_the_same_head_bit_for_bit(ball):
    first, second, other = draw(ball), draw(ball), draw(ball, seed=4)
    np.testing.assert_array_equal(first.image, second.image)
    np.testing.assert_array_equal(first.fractions, second.fractions)
    assert not np.array_equal(first.labels, other.labels)


def test_fractions_are_shares_and_labels_are_the_largest_share(ball):
    head = draw(ball)
    total = head.fractions.sum(axis=-1)
    assert head.fractions.min() >= 0
    assert total.max() <= 1 + 1e-5
    inside = head.labels > 0
    np.testing.assert_array_equal(head.labels[inside], head.fractions[inside].argmax(-1) + 1)
    np.testing.assert_array_equal(head.mask, total >= 0.5 - 1e-6)
    assert ((head.fractions > 0.05) & (head.fractions < 0.95)).mean() > 0.01  # mixed voxels exist


def test_without_noise_bias_and_texture_the_image_is_the_fractions_times_the_means(ball):
    head = draw(ball, noise=0.0, bias=0.0, texture=0.0)
    full = head.fractions.sum(axis=-1) > 1 - 1e-6
    means = np.array([T1_MEANS[name] for name in ("GM", "WM", "CSF")])
    assert full.sum() > 1000
    np.testing.assert_allclose(head.image[full], (head.fractions @ means)[full], rtol=1e-4)


def test_the_bias_field_is_the_ratio_to_the_image_without_it(ball):
    plain, shaded = (draw(ball, noise=0.0, bias=b) for b in (0.0, 30.0))
    np.testing.assert_allclose(plain.image * shaded.bias, shaded.image, rtol=1e-4, atol=1e-3)


def test_the_warp_leads_back_to_the_maps(ball):
    """Without folding, looking the maps up along the warp gives the fractions again."""
    maps, maps_affine = ball
    head = draw(ball, spacing=(3.0, 3.0, 3.0), folding=0.0, deformation=4.0, noise=0.0)
    inside = np.argwhere(head.fractions[..., 1] > 0.99)
    world = inside * 3.0 - 93 + head.warp[tuple(inside.T)]
    nearest = np.rint((world - maps_affine[:3, 3]) / 4).astype(int)
    white = maps[(*nearest.T, 1)]
    assert np.abs(head.warp).max() > 2  # it did deform
    # Pure white matter lies where the white map is the largest; 1 % for rounding to 4 mm.
    assert (white > 1 / 3).mean() > 0.99


def test_an_affine_pose_moves_the_whole_head(ball):
    pose = np.eye(4)
    pose[0, 3] = 12.0  # two voxels: the maps lie 12 mm to the left in the phantom
    still, moved = (
        draw(ball, deformation=0.0, folding=0.0, affine=a, noise=0.0) for a in (None, pose)
    )
    np.testing.assert_allclose(moved.warp[..., 0], 12.0, atol=1e-4)
    away = [np.argwhere(h.mask).mean(axis=0) * 6 for h in (still, moved)]
    np.testing.assert_allclose(away[1] - away[0], [-12, 0, 0], atol=0.3)


def test_anisotropic_voxels_hold_the_same_volumes(ball):
    """Thick slices blur the picture but not the total of the fractions."""
    settings = {"deformation": 0.0, "folding": 0.0, "noise": 0.0}
    volumes = [
        draw(ball, spacing=s, **settings).fractions[..., :2].sum(axis=(0, 1, 2)) * np.prod(s)
        for s in ((3.0, 3.0, 3.0), (3.0, 3.0, 6.0))
    ]
    np.testing.assert_allclose(volumes[0], volumes[1], rtol=0.01)


@pytest.mark.parametrize("bad", [np.zeros((4, 4, 4)), np.zeros((4, 4, 4, 2))])
def test_maps_of_the_wrong_shape_are_refused(bad):
    with pytest.raises(InputError, match=r"\(I, J, K, 3\).*got"):
        simulate_head(bad, np.eye(4), (4, 4, 4), np.eye(4), np.random.default_rng(0))


def test_a_grid_that_misses_the_brain_is_refused(ball):
    far = np.diag([4.0, 4, 4, 1])
    far[:3, 3] = 500
    with pytest.raises(InputError, match="no brain falls on"):
        simulate_head(*ball, (9, 9, 9), far, np.random.default_rng(0))


def test_the_sample_scan_can_be_made_again(make_sample, sample_head, sample_t1, sample_truth):
    """The script and the files in sample_images belong together."""
    kept = np.asarray(nib.load(sample_t1).dataobj)
    made = np.round(sample_head.image).astype(np.int16)
    # Bit for bit with the versions that wrote it. Another NumPy or SciPy may add in another
    # order or draw normal numbers with another last digit, which moves a value that lies
    # on a rounding edge by one; nothing moves further.
    assert np.abs(made.astype(int) - kept).max() <= 1
    assert (made != kept).mean() < 1e-3
    assert (sample_head.labels != sample_truth).mean() < 1e-4
    np.testing.assert_allclose(nib.load(sample_t1).affine, make_sample.grid())


def test_the_sample_scan_is_small_and_looks_like_a_head(sample_t1, sample_truth):
    assert sample_t1.stat().st_size < 1_000_000
    image = np.asarray(nib.load(sample_t1).dataobj, dtype=float)
    means = [np.median(image[sample_truth == code]) for code in (3, 1, 2)]
    assert means == sorted(means)  # T1: CSF darker than grey, grey darker than white
    volumes = np.bincount(sample_truth.ravel(), minlength=4)[1:] * 0.008  # mL
    # Adult ranges with room to spare; the maps count much mixed tissue as grey.
    assert 500 < volumes[0] < 1100
    assert 350 < volumes[1] < 700
    assert 150 < volumes[2] < 500
