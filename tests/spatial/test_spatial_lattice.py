"""What the joint fit is given: samples of the brain, or one clear sentence."""

from dataclasses import replace

import numpy as np
import pytest

from gmmseg import InputError
from gmmseg.spatial.atlas import TissueAtlas
from gmmseg.spatial.lattice import sample_lattice

N = 12


@pytest.fixture(scope="module")
def ball():
    """Atlas of one tissue in a ball and one class outside, 3 mm voxels."""
    radius = np.sqrt(sum((g - N / 2) ** 2 for g in np.ogrid[:N, :N, :N]))
    inside = np.clip(4.5 - radius, 0.001, 0.999).astype(np.float32)
    maps = np.stack([inside, 1 - inside], axis=-1)
    return TissueAtlas(maps, np.diag([3.0, 3.0, 3.0, 1.0]), ("GM", "outside"), (0, 1), 1)


def lattice_of(values, atlas, mask=None):
    step = np.ones(3, int)
    return sample_lattice(values, mask, np.full(3, 3.0), atlas.affine, atlas, step)


def test_samples_are_the_brain_and_its_surroundings_without_missing_voxels(ball, rng):
    values = rng.normal(100, 5, (N, N, N))
    values[6, 6, 6] = np.nan
    lattice = lattice_of(values, ball)
    index = tuple(np.array([6, 6, 6]) - lattice.first)
    assert not lattice.used[index]
    assert np.isfinite(lattice.values).all()
    used = np.argwhere(lattice.used) + lattice.first
    np.testing.assert_array_equal(lattice.values[lattice.used], values[tuple(used.T)])


def test_the_lattice_is_the_box_of_the_points_in_use(ball, rng):
    values = rng.normal(100, 5, (N, N, N))
    values[:2] = np.nan  # nothing of this is used
    lattice = lattice_of(values, ball)
    assert lattice.used[0].any()
    assert lattice.used[-1].any()
    assert lattice.first[0] >= 2
    at = np.argwhere(lattice.used)[5]
    world = ball.affine @ [*(at + lattice.first), 1]
    np.testing.assert_allclose(lattice.to_template @ [*at, 1], world)
    assert lattice.values[tuple(at)] == values[tuple(at + lattice.first)]


def test_the_surroundings_are_those_of_the_template_whatever_the_size_of_the_head(ball, rng):
    values = rng.normal(100, 5, (N, N, N))
    small = sample_lattice(values, None, np.full(3, 2.0), ball.affine, ball, np.ones(3, int))
    np.testing.assert_array_equal(small.used, lattice_of(values, ball).used)
    stretched = ball.affine @ np.diag([1.2, 1.2, 1.2, 1.0])  # a longer step in the template
    wide = sample_lattice(values, None, np.full(3, 3.0), stretched, ball, np.ones(3, int))
    assert wide.used.sum() < small.used.sum()


def test_stray_values_are_lowered_to_twice_the_brightest_tissue(ball, rng):
    values = rng.normal(100, 5, (N, N, N))
    plain = lattice_of(values, ball)
    values[5, 6, 6] = values[1, 6, 6] = 1e5  # in the brain and beside it
    lattice = lattice_of(values, ball)
    changed = lattice.values != plain.values
    assert np.count_nonzero(changed) == 2
    assert np.all(np.abs(lattice.values[changed] - 220) < 10)  # 110 is about the 98 per cent


def test_points_are_where_the_affine_leads_from_the_lattice(ball, rng):
    lattice = lattice_of(rng.uniform(50, 60, (N, N, N)), ball)
    turned = np.array(
        [[1.1, 0.2, -0.1, 4], [-0.3, 0.9, 0.1, 5], [0.1, -0.2, 1.2, -6], [0, 0, 0, 1]]
    )
    lattice = replace(lattice, to_template=turned)
    index = np.argwhere(lattice.used)
    assert not lattice.used.all()
    expected = (index @ turned[:3, :3].T + turned[:3, 3]) / 3.0
    np.testing.assert_allclose(lattice.points(ball), expected, atol=1e-12)


def test_outside_a_mask_is_known_to_be_outside(ball, rng):
    mask = np.zeros((N, N, N), bool)
    mask[4:9, 4:9, 4:9] = True
    lattice = lattice_of(rng.normal(100, 5, mask.shape), ball, mask)
    assert np.count_nonzero(lattice.used & ~lattice.outside) == np.count_nonzero(mask)


def test_a_brain_without_any_contrast_is_refused(ball):
    with pytest.raises(InputError, match="has the value 7 nearly everywhere in the brain"):
        lattice_of(np.full((N, N, N), 7.0), ball)


def test_a_brain_outside_the_image_is_refused(ball, rng):
    away = TissueAtlas(ball.maps, ball.affine + np.eye(4, k=3) * 500, ball.names, (0, 1), 1)
    with pytest.raises(InputError, match="No brain could be found"):
        sample_lattice(
            rng.normal(0, 1, (N, N, N)), None, np.full(3, 3.0), ball.affine, away, np.ones(3, int)
        )
