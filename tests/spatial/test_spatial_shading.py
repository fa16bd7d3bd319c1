"""Shading is what grey and white matter share; what they do not is tissue."""

import numpy as np
import pytest
from scipy import ndimage

from gmmseg.spatial.shading import shading

SHAPE, SPACING = (48, 52, 44), np.full(3, 3.0)


@pytest.fixture(scope="module")
def tissues():
    """Grey and white matter in patches of some 20 mm, everywhere side by side."""
    field = ndimage.gaussian_filter(np.random.default_rng(3).standard_normal(SHAPE), 3.0)
    return field < 0, field > 0


def slow(seed, size):
    field = ndimage.gaussian_filter(np.random.default_rng(seed).standard_normal(SHAPE), 10.0)
    return size * field / field.std()


def head(tissues, log_grey, log_white, noise=5.0):
    grey, _ = tissues
    values = np.where(grey, 95 * np.exp(log_grey), 130 * np.exp(log_white))
    return values + noise * np.random.default_rng(0).standard_normal(SHAPE)


def test_shading_that_dims_both_tissues_is_shared(tissues):
    field = slow(1, 0.06)
    found = shading(head(tissues, field, field), *tissues, SPACING)
    # The 20 mm window flattens a field of 30 mm smoothness by about a third.
    assert 0.5 * 0.06 < np.sqrt(found.shared) < 0.06
    assert found.ratio > 10


def test_variation_of_one_tissue_alone_is_not_shared(tissues):
    for log_grey, log_white in ((slow(1, 0.06), 0 * slow(1, 1)), (slow(1, 0.04), slow(2, 0.04))):
        found = shading(head(tissues, log_grey, log_white), *tissues, SPACING)
        assert found.ratio < 0.3
        assert np.sqrt(found.apart) > 0.01


def test_the_answer_does_not_depend_on_the_unit_of_intensity(tissues):
    image = head(tissues, slow(1, 0.05), slow(2, 0.05))
    one, other = (shading(factor * image, *tissues, SPACING) for factor in (1.0, 1e-4))
    np.testing.assert_allclose(one, other, rtol=1e-9)


def test_without_one_of_the_tissues_nothing_is_told(tissues):
    grey, white = tissues
    image = head(tissues, slow(1, 0.05), slow(1, 0.05))
    nothing = np.zeros(SHAPE, bool)
    assert shading(image, grey, nothing, SPACING) == (0.0, 0.0)
    assert shading(image, nothing, white, SPACING).ratio == 0.0
