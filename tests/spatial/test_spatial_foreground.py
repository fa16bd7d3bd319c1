"""Where the head is, and whether a scan shows a brain alone."""

import nibabel as nib
import numpy as np
import pytest
from scipy import ndimage

from gmmseg.spatial.foreground import (
    ellipsoid,
    filled,
    head_foreground,
    largest_component,
    stripped_brain,
)

VOXEL_ML = 0.008  # the sample has voxels of 2 mm


@pytest.fixture(scope="module")
def scan(sample_t1):
    data = np.asarray(nib.load(sample_t1).dataobj).astype(np.float32)
    data.flags.writeable = False
    return data


@pytest.fixture(scope="module")
def head(scan):
    """Foreground of the sample at 4 mm."""
    return head_foreground(scan[::2, ::2, ::2], np.full(3, 4.0))


def test_the_foreground_holds_the_brain_and_leaves_the_air_out(scan, head, sample_truth):
    brain = sample_truth[::2, ::2, ::2] > 0
    assert head[brain].mean() > 0.999
    assert 1.5 * brain.sum() < head.sum() < 0.8 * head.size
    assert not head[0, -1, -1]
    assert not head[-1, -1, -1]


def test_an_image_of_one_value_has_no_foreground():
    assert not head_foreground(np.full((20, 20, 20), 7.0), np.full(3, 3.0)).any()


@pytest.mark.parametrize("background", [0.0, -1000.0, np.nan])
def test_a_brain_on_a_constant_background_is_recognised(scan, sample_truth, background):
    brain = sample_truth > 0
    found = stripped_brain(np.where(brain, scan + 1, np.float32(background)), VOXEL_ML)
    assert found is not None
    assert found[brain].mean() > 0.999
    assert np.count_nonzero(found & ~brain) < 0.05 * brain.sum()  # enclosed holes are filled


def test_a_whole_head_is_no_stripped_brain(scan):
    assert stripped_brain(scan, VOXEL_ML) is None


def test_a_whole_head_whose_air_was_set_to_zero_is_no_stripped_brain(scan, head):
    full = np.kron(head, np.ones((2, 2, 2), bool))
    full = np.pad(full, [(0, max(0, n - m)) for n, m in zip(scan.shape, full.shape, strict=True)])
    full = full[tuple(slice(n) for n in scan.shape)]
    assert stripped_brain(np.where(full, scan + 1, 0), VOXEL_ML) is None


def test_the_foreground_is_taken_for_the_brain_whatever_its_size_when_told_so():
    small = np.zeros((30, 30, 30), np.float32)
    small[10:20, 10:20, 10:20] = 5.0
    assert stripped_brain(small, VOXEL_ML) is None
    assert np.count_nonzero(stripped_brain(small, VOXEL_ML, force=True)) == 1000


def test_two_large_parts_are_no_brain(scan, sample_truth):
    """A brain and, apart from it, more than a tenth of its size: not a cleanly stripped scan."""
    data = np.where(sample_truth > 0, scan + 1, np.float32(0))
    assert stripped_brain(data, VOXEL_ML) is not None
    data[:, :20, :24] = 50.0
    data[:, 20:22] = 0.0
    assert stripped_brain(data, VOXEL_ML) is None


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


def test_an_ellipsoid_reaches_as_far_as_its_half_axes():
    element = ellipsoid(np.array([1, 2, 3]))
    assert element.shape == (3, 5, 7)
    assert element[0, 2, 3]
    assert element[1, 2, 0]
    assert not element[0, 0, 0]
