"""Where the head is, and whether a scan shows a brain alone."""

import nibabel as nib
import numpy as np
import pytest
from scipy import ndimage

from gmmseg.spatial import foreground
from gmmseg.spatial.foreground import (
    ellipsoid,
    head_foreground,
    stripped_brain,
)

SPACING = np.full(3, 2.0)  # of the sample, mm


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


def test_bright_noise_in_the_air_is_no_head(scan, head, rng):
    """As in MP2RAGE: what is left is most of the head and little else, with the whole brain."""
    thin = np.ascontiguousarray(scan[::2, ::2, ::2])
    noisy = np.where(head, thin, rng.uniform(0, np.quantile(thin[head], 0.99), thin.shape))
    found = head_foreground(noisy, np.full(3, 4.0))
    assert 2 * np.count_nonzero(found & head) / (found.sum() + head.sum()) > 0.75
    assert found.mean() < 0.8


def test_a_field_of_view_full_of_head_keeps_its_brain(scan, sample_truth):
    """Cut within the brain's box: 97 per cent is head, and no noise is there to be left out."""
    brain = sample_truth[::2, ::2, ::2] > 0
    box = tuple(slice(w.min() + 6, w.max() - 5) for w in np.nonzero(brain))
    thin = np.ascontiguousarray(scan[::2, ::2, ::2][box])
    assert head_foreground(thin, np.full(3, 4.0))[brain[box]].mean() > 0.999


def test_an_image_of_one_value_has_no_foreground():
    assert not head_foreground(np.full((20, 20, 20), 7.0), np.full(3, 3.0)).any()


@pytest.mark.parametrize("background", [0.0, -1000.0, np.nan])
def test_a_brain_on_a_constant_background_is_recognised(scan, sample_truth, background):
    brain = sample_truth > 0
    found = stripped_brain(np.where(brain, scan + 1, np.float32(background)), SPACING)
    assert found is not None
    assert found[brain].mean() > 0.999
    assert np.count_nonzero(found & ~brain) < 0.05 * brain.sum()  # enclosed holes are filled


def turned(data, order):
    """Turned by 12 degrees about z, by splines."""
    return ndimage.rotate(data, 12.0, order=order, reshape=False)


@pytest.mark.parametrize("what", ["splines", "splines, no negatives", "standard scores"])
def test_a_brain_that_was_stripped_and_then_interpolated_is_recognised(scan, sample_truth, what):
    brain = sample_truth > 0
    alone = np.where(brain, scan + 1, np.float32(0))
    if what == "standard scores":
        alone[brain] = (scan[brain] - scan[brain].mean()) / scan[brain].std()
    data, where = turned(alone, 3), turned(brain.astype(np.float32), 1) > 0.5
    data = np.maximum(data, 0) if what.endswith("negatives") else data
    assert np.mean(data == 0) < 0.75  # no constant background, half of it where ripples were cut
    found = stripped_brain(data, SPACING)
    assert found is not None
    shared = np.count_nonzero(found & where)
    assert 2 * shared / (found.sum() + where.sum()) > 0.95


def test_ripples_around_a_brain_are_no_brain_when_it_is_said_to_be_one(scan, sample_truth):
    data = turned(np.where(sample_truth > 0, scan + 1, np.float32(0)), 3)
    assert np.count_nonzero(data) > 2 * np.count_nonzero(sample_truth)  # what differs from 0
    guessed, told = (stripped_brain(data, SPACING, force=force) for force in (False, True))
    assert np.array_equal(told, guessed)


def test_noise_around_a_brain_is_no_ripple_but_does_not_hide_it_when_told_so(
    scan, sample_truth, rng, monkeypatch
):
    """Small heads have noise around them, too, and may show no bone where it is as dark."""
    brain = sample_truth > 0
    noise = rng.rayleigh(0.004 * scan.max(), scan.shape)
    data = (np.where(brain, scan + 1, 0) + noise).astype(np.float32)
    assert stripped_brain(data, SPACING) is None
    found = stripped_brain(data, SPACING, force=True)
    shared = np.count_nonzero(found & brain)
    assert 2 * shared / (found.sum() + brain.sum()) > 0.95
    monkeypatch.setattr(foreground, "QUIET", 0.0)
    assert stripped_brain(data, SPACING) is not None  # negative control


@pytest.mark.parametrize("size", [0.8, 0.7, 0.6])
def test_a_small_head_without_air_that_was_interpolated_is_no_brain(scan, head, size, monkeypatch):
    full = np.kron(head, np.ones((2, 2, 2), bool))[tuple(map(slice, scan.shape))]
    full = np.pad(full, [(0, n - m) for n, m in zip(scan.shape, full.shape, strict=True)])
    full = ndimage.binary_erosion(full, iterations=2)
    data = turned(np.pad(np.where(full, scan, 0), 25), 3)
    assert stripped_brain(data, size * SPACING) is None
    monkeypatch.setattr(foreground, "UNEVEN_DIP", 0.0)
    assert stripped_brain(data, size * SPACING) is not None  # negative control: bone tells


def test_a_whole_head_is_no_stripped_brain(scan):
    assert stripped_brain(scan, SPACING) is None


@pytest.mark.parametrize("size", [1.0, 0.8, 0.7])
def test_a_small_head_on_a_constant_background_is_no_brain_and_its_brain_is(
    scan, head, sample_truth, size
):
    """A child's head is as large as an adult's brain; what tells them apart is bone."""
    full = np.kron(head, np.ones((2, 2, 2), bool))[tuple(map(slice, scan.shape))]
    full = np.pad(full, [(0, n - m) for n, m in zip(scan.shape, full.shape, strict=True)])
    full[:, :, : scan.shape[2] // 4] = False  # within the volumes of brains, once it is small
    assert stripped_brain(np.where(full, scan + 1, np.float32(0)), size * SPACING) is None
    brain = sample_truth > 0
    assert stripped_brain(np.where(brain, scan + 1, np.float32(0)), size * SPACING) is not None
    inverted = np.where(brain, 1.2 * scan[brain].max() - scan, np.float32(0))  # as T2: dark within
    assert stripped_brain(inverted, size * SPACING) is not None


def test_a_brain_in_standard_scores_is_a_brain(scan, sample_truth):
    """Half of its intensities are negative, and those of its surface lie near the background."""
    brain = sample_truth > 0
    scores = (scan - scan[brain].mean()) / scan[brain].std()
    assert stripped_brain(np.where(brain, scores, np.float32(0)), SPACING) is not None


def test_a_whole_head_whose_air_was_set_to_zero_is_no_stripped_brain(scan, head):
    full = np.kron(head, np.ones((2, 2, 2), bool))
    full = np.pad(full, [(0, max(0, n - m)) for n, m in zip(scan.shape, full.shape, strict=True)])
    full = full[tuple(slice(n) for n in scan.shape)]
    assert stripped_brain(np.where(full, scan + 1, 0), SPACING) is None


def test_the_foreground_is_taken_for_the_brain_whatever_its_size_when_told_so():
    small = np.zeros((30, 30, 30), np.float32)
    small[10:20, 10:20, 10:20] = 5.0
    assert stripped_brain(small, SPACING) is None
    assert np.count_nonzero(stripped_brain(small, SPACING, force=True)) == 1000


def test_two_large_parts_are_no_brain(scan, sample_truth):
    """A brain and, apart from it, more than a tenth of its size: not a cleanly stripped scan."""
    data = np.where(sample_truth > 0, scan + 1, np.float32(0))
    assert stripped_brain(data, SPACING) is not None
    data[:, :20, :24] = 50.0
    data[:, 20:22] = 0.0
    assert stripped_brain(data, SPACING) is None


def test_an_ellipsoid_reaches_as_far_as_its_half_axes():
    element = ellipsoid(np.array([1, 2, 3]))
    assert element.shape == (3, 5, 7)
    assert element[0, 2, 3]
    assert element[1, 2, 0]
    assert not element[0, 0, 0]


def test_three_slices_are_not_taken_for_the_channels_of_a_colour_image(rng):
    """The warning of scikit-image would fail this test."""
    head = np.zeros((60, 60, 3))
    head[15:45, 15:45] = 100.0
    found = foreground.head_foreground(head + rng.normal(0, 1, head.shape), (3.0, 3.0, 20.0))
    assert found.shape == head.shape
