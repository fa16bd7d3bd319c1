"""Connected parts of a mask."""

import numpy as np
import pytest
from scipy import ndimage

from gmmseg.spatial.components import filled, largest_component, solid_component


def test_the_largest_part_is_kept_and_an_empty_mask_stays_empty():
    mask = np.zeros((8, 8, 8), bool)
    assert not largest_component(mask).any()
    mask[:2, :2, :2] = mask[4:8, 4:8, 4:8] = True
    assert np.count_nonzero(largest_component(mask)) == 64
    assert np.count_nonzero(mask) == 72  # the input is left alone


@pytest.mark.parametrize("shape", [(9, 10, 11), (8, 8, 1), (12, 13)])
def test_holes_are_filled_as_scipy_does(rng, shape):
    for level in (0.3, 0.5, 0.7):  # from hardly any mask to hardly any hole
        mask = rng.random(shape) < level
        np.testing.assert_array_equal(filled(mask), ndimage.binary_fill_holes(mask))


@pytest.mark.parametrize("level", [0.2, 0.35, 0.6])
def test_the_largest_part_is_the_one_that_scipy_counts_most_voxels_of(rng, level):
    mask = np.zeros((21, 18, 25), bool)
    mask[3:-2, 1:-4, 5:] = rng.random((16, 13, 20)) < level
    parts, _ = ndimage.label(mask)
    largest = parts == 1 + np.argmax(np.bincount(parts.ravel())[1:])
    np.testing.assert_array_equal(largest_component(mask), largest)
    np.testing.assert_array_equal(largest_component(mask[::-1, :, ::-1])[::-1, :, ::-1], largest)
    np.testing.assert_array_equal(solid_component(mask), ndimage.binary_fill_holes(largest))


def test_a_shell_becomes_solid_and_what_lies_apart_goes():
    mask = np.zeros((12, 12, 12), bool)
    mask[1:8, 1:8, 1:8] = True
    mask[3:6, 3:6, 3:6] = mask[4, 4, :3] = False  # hollow, and open through a channel
    mask[10, 10, 10] = True
    assert np.count_nonzero(solid_component(mask)) == 343 - 27 - 2
    mask[4, 4, 1] = True
    assert np.count_nonzero(solid_component(mask)) == 343
    assert not solid_component(np.zeros((4, 4, 4), bool)).any()
