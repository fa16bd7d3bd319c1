"""Masks grown by stamping their border: what SciPy makes of them, voxel by voxel."""

import numpy as np
import pytest
from scipy import ndimage

from gmmseg.spatial.foreground import ellipsoid
from gmmseg.spatial.stamp import stamped


@pytest.mark.parametrize("radius", [(1, 1, 1), (3, 3, 3), (2, 1, 4)])
@pytest.mark.parametrize("density", [0.001, 0.02, 0.5, 0.98])
def test_a_stamped_mask_is_the_dilated_one(rng, radius, density):
    mask = rng.random((23, 17, 29)) < density
    element = ellipsoid(np.array(radius))
    grown = stamped(mask, np.argwhere(element) - radius)
    assert np.array_equal(grown, ndimage.binary_dilation(mask, element))


def test_solid_parts_grow_from_their_border_up_to_that_of_the_image(rng):
    """Runs of border voxels, inner voxels between them, and parts that the image cuts off."""
    mask = ndimage.gaussian_filter(rng.normal(size=(40, 31, 27)), 2.5) > 0.01
    element = ellipsoid(np.array([3, 2, 3]))
    grown = stamped(mask, np.argwhere(element) - (3, 2, 3))
    assert np.array_equal(grown, ndimage.binary_dilation(mask, element))
    assert mask.mean() < grown.mean() < 1


def test_nothing_grows_from_nothing():
    assert not stamped(np.zeros((5, 6, 7), bool), np.array([[0, 0, 0], [0, 0, 1]])).any()
