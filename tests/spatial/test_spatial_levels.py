"""Images as levels."""

import numpy as np
import pytest

from gmmseg.spatial.levels import FLOAT_LEVELS, histogram_of, levels_of


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int16, np.int64, np.float32])
def test_whole_numbers_are_their_own_levels(rng, dtype):
    image = rng.integers(3, 120, (9, 11)).astype(dtype)
    if np.dtype(dtype).kind in "if":
        image -= 50
    levels = levels_of(image)
    np.testing.assert_array_equal(levels.centres[levels.index], image)


def test_real_numbers_fall_into_the_bin_around_them(rng):
    image = rng.normal(0, 3, (40, 50)).astype(np.float32)
    levels = levels_of(image)
    assert len(levels.centres) == FLOAT_LEVELS
    width = np.diff(levels.centres)[0]
    assert np.abs(levels.centres[levels.index] - image).max() <= width / 2 * (1 + 1e-3)


def test_what_lies_outside_the_mask_sets_no_range(rng):
    image = rng.normal(0, 3, (40, 50))
    mask = np.ones(image.shape, bool)
    image[:4], mask[:4] = np.nan, False
    image[4], mask[4] = 1e9, False
    levels = levels_of(image, mask)
    assert levels.centres[-1] < 20
    inside = levels.centres[levels.index][mask]
    np.testing.assert_allclose(inside, image[mask], atol=np.diff(levels.centres)[0])


def test_a_constant_has_one_level():
    levels = levels_of(np.full((3, 4), 0.25))
    np.testing.assert_array_equal(levels.centres, [0.25])
    assert not levels.index.any()


def test_looking_up_gives_each_pixel_its_row(rng):
    image = rng.integers(0, 7, (5, 6)).astype(np.uint8)
    levels = levels_of(image)
    table = rng.normal(size=(len(levels.centres), 3)).astype(np.float32)
    np.testing.assert_array_equal(levels.look_up(table), table[image])
    np.testing.assert_array_equal(levels.look_up(table[:, 0]), table[image, 0])


def test_the_histogram_counts_the_pixels_of_the_mask(rng):
    image = rng.integers(0, 9, (20, 20))
    mask = rng.random(image.shape) < 0.5
    centres, counts = histogram_of(image, mask, 256)
    values, expected = np.unique(image[mask], return_counts=True)
    np.testing.assert_array_equal(centres, values)
    np.testing.assert_array_equal(counts, expected)
