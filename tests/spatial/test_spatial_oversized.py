"""Masks far larger than any brain are refused, and large ones that can be a brain's are not."""

import numpy as np
import pytest

from gmmseg.checks import InputError
from gmmseg.spatial.oversized import check_size

SHAPE = (90, 110, 100)  # 7.9 L at 2 mm


def whole(shape=SHAPE):
    return np.ones(shape, bool)


def ellipsoid(shape=SHAPE):
    """What fits into a box: .52 of it, as much as of a brain's at most."""
    axes = np.meshgrid(*(np.linspace(-1, 1, n) for n in shape), indexing="ij")
    return sum(axis**2 for axis in axes) < 1


def check(mask, edge, data=None):
    check_size(mask, np.zeros(mask.shape) if data is None else data, np.full(3, edge))


@pytest.mark.parametrize("margin", [0, 3])
def test_a_mask_of_the_whole_image_is_refused_for_its_shape(margin):
    """Also where a rim of the image is left out."""
    mask = np.pad(whole(), margin)
    with pytest.raises(
        InputError, match=r"^The brain mask holds 7\.92 L and fills 100% of the box"
    ):
        check(mask, 2.0)


def test_a_mask_of_all_but_air_at_the_corners_is_refused():
    mask = whole()
    mask[:20, :20] = mask[-20:, -20:] = False
    assert 0.8 < mask.mean() < 0.95
    with pytest.raises(InputError, match="give a mask of the brain alone, or leave out --mask"):
        check(mask, 2.0)


@pytest.mark.parametrize("edge", [0.1, 1.0, 2.0, 3.0, 6.0])
def test_a_mask_in_the_form_of_a_brain_is_taken_whatever_the_header_says_of_voxels(edge):
    """Up to 112 L: labels are as good as ever, and the self-check tells what is wrong."""
    check(ellipsoid(), edge)


def test_a_mask_of_all_of_a_scan_that_was_cut_to_its_brain_is_taken():
    check(whole((140, 180, 150)), 1.0)  # 3.8 L


def test_voxels_without_a_value_do_not_count():
    check(whole(), 2.0, np.where(ellipsoid(), 1.0, np.nan))
    check(whole(), 2.0, np.full(SHAPE, np.nan))  # which is refused elsewhere


def test_a_mask_larger_than_any_scanner_is_refused_for_the_size_of_its_voxels():
    """A mouse in micrometres: 100 of them are read as 100 mm."""
    with pytest.raises(InputError, match=r"holds \d+ L, more .* \(125 L\); check the voxel size"):
        check(ellipsoid(), 100.0)
