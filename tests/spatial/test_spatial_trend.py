"""Strong one-sided shading is found as it was put on, and ordinary shading is left alone."""

import numpy as np
import pytest
from simulated import SHAPE, small_atlas, small_lattice

from gmmseg.spatial import trend


@pytest.fixture
def atlas(rng):
    return small_atlas(rng)


def ramp(axis, total):
    """Log factor that rises by ``total`` from one end of the lattice to the other."""
    shape = [1, 1, 1]
    shape[axis] = -1
    return np.linspace(-total / 2, total / 2, SHAPE[axis]).reshape(shape) * np.ones(SHAPE)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_fourfold_trend_is_found_along_any_axis(axis, rng, atlas):
    """30000 samples, tissue known to two in three: the slope comes out to a few per cent."""
    expected = np.zeros(3)
    expected[axis] = np.log(4) / (SHAPE[axis] - 1)
    found = trend.log_trend(small_lattice(rng, atlas, ramp(axis, np.log(4))), atlas)
    np.testing.assert_allclose(found, expected, atol=0.06 * expected[axis])


def test_ordinary_shading_is_left_to_the_field(rng, atlas):
    """40 per cent: ends of .8 and 1.2."""
    shaded = small_lattice(rng, atlas, ramp(1, np.log(1.5)))
    assert not trend.log_trend(shaded, atlas).any()
    assert trend.strong_shading(shaded, atlas, SHAPE) is None


def test_what_is_known_to_lie_outside_takes_no_part(rng, atlas):
    lattice = small_lattice(rng, atlas, ramp(2, np.log(4)))
    lattice.outside[:, :, 14:] = True
    half = trend.log_trend(lattice, atlas)
    lattice.values[:, :, 14:] = 1e6
    np.testing.assert_array_equal(trend.log_trend(lattice, atlas), half)


def test_the_field_of_the_image_is_the_shading_put_on_the_lattice(rng, atlas):
    shading = ramp(0, np.log(4))
    field = trend.strong_shading(small_lattice(rng, atlas, shading), atlas, SHAPE)
    assert field.dtype == np.float32
    np.testing.assert_allclose(field, shading, atol=0.06 * np.log(4))


def test_the_trend_of_a_head_is_found_without_an_atlas_and_only_where_it_is_strong(rng):
    """Two tissues at random: the fourfold ramp of 20000 samples comes out to a few per cent."""
    points = rng.uniform(-90, 90, (20000, 3))
    values = np.where(rng.random(20000) < 0.5, 90.0, 130.0) + 5 * rng.standard_normal(20000)
    ramp = np.log(4) / 180 * points[:, 0]
    found = trend.head_trend(values * np.exp(ramp), points)
    np.testing.assert_allclose(found, ramp, atol=0.05 * np.log(4))
    assert not trend.head_trend(values * np.exp(0.3 * ramp), points).any()
