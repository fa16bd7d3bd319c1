"""The fast blurs are SciPy's."""

import numpy as np
import pytest
from scipy import ndimage

from gmmseg.spatial.blur import blurred
from gmmseg.spatial.headatlas import thinned


@pytest.mark.parametrize("sigma", [(3.0, 3.0, 3.0), (0.4, 1.0, 5.0)])
def test_class_maps_are_blurred_as_scipy_does(rng, sigma):
    """5 voxels of standard deviation reach beyond the array: borders are held, too."""
    maps = rng.random((17, 12, 9, 4), dtype=np.float32)
    classes = np.moveaxis(maps, -1, 0)
    plain = [ndimage.gaussian_filter(m, sigma, mode="nearest") for m in classes]
    expected = np.stack(plain, axis=-1)
    expected /= expected.sum(-1, keepdims=True)
    # A sum of 41 float32 numbers below one, on each of three axes.
    np.testing.assert_allclose(blurred(maps, np.array(sigma)), expected, atol=3e-6)


def test_thinning_class_maps_is_the_same_bits_as_dropping_voxels_of_the_blurred(rng):
    maps = rng.random((17, 9, 8, 3), dtype=np.float32)
    sigma = np.array([3.0, 2.0, 1.0])
    whole = blurred(maps, sigma)
    np.testing.assert_array_equal(blurred(maps, sigma, (3, 4, 1)), whole[::3, ::4])


@pytest.mark.parametrize(
    ("shape", "pad", "step"),
    [
        ((20, 21, 22), (40, 40, 40), (2, 2, 2)),
        ((9, 8, 7), (1, 0, 3), (2, 2, 3)),
        ((9, 8, 7), (13, 27, 40), (1, 2, 3)),
        ((9, 8, 17), (14, 15, 16), (3, 4, 5)),
    ],
)
def test_thinning_a_blurred_map_is_the_same_bits_as_blurring_all_of_it(rng, shape, pad, step):
    field = rng.random(shape)
    whole = np.pad(field.astype(np.float32), [(p, p) for p in pad])
    whole = ndimage.gaussian_filter(whole, 0.5 * np.array(step))
    expected = whole[:: step[0], :: step[1], :: step[2]]
    np.testing.assert_array_equal(thinned(field, np.array(pad), np.array(step)), expected)
