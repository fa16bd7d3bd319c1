"""The edge of a brain that was resampled after it was cut out of its head."""

import nibabel as nib
import numpy as np
import pytest
from scipy import ndimage

from gmmseg.spatial import faded
from gmmseg.spatial.faded import without_faded_edge


@pytest.fixture(scope="module")
def brain(sample_truth):
    return sample_truth > 0


@pytest.fixture(scope="module")
def alone(sample_t1, brain):
    """The sample without its skull."""
    scan = np.asarray(nib.load(sample_t1).dataobj).astype(np.float32)
    return np.where(brain, scan + 1, np.float32(0))


def turned(data, order=1):
    return ndimage.rotate(data, 12.0, order=order, reshape=False)


def shifted(data, order=1):
    return ndimage.shift(data, (0.5, 0.3, 0.4), order=order)


def wrong(found, truth):
    return np.count_nonzero(found != truth) / np.count_nonzero(truth)


@pytest.mark.parametrize("moved", [turned, shifted])
@pytest.mark.parametrize("unit", [1e-3, 1.0, 1e5])
@pytest.mark.parametrize("background", [0.0, 80.0, -1000.0])
def test_voxels_that_interpolation_filled_by_less_than_half_are_left_out(
    alone, brain, moved, unit, background
):
    """A third of what is wrong stays: where CSF or cortex at the edge are dark themselves."""
    data, truth = moved(unit * alone), moved(brain.astype(np.float32)) >= 0.5
    found = without_faded_edge(data + np.float32(unit * background), data != 0)
    assert wrong(found, truth) < 0.35 * wrong(data != 0, truth)
    assert abs(found.sum() / truth.sum() - 1) < 0.02 < (data != 0).sum() / truth.sum() - 1


@pytest.fixture
def average(alone, brain, rng):
    """Twenty copies that lie a little apart, and the share of them that is brain."""
    shifts = rng.normal(0, 1.0, (20, 3))
    data = np.mean([ndimage.shift(alone, s, order=1) for s in shifts], axis=0)
    return data, np.mean([ndimage.shift(brain.astype(np.float32), s, order=1) for s in shifts], 0)


@pytest.mark.parametrize("stray", [1.0, 1000.0])
def test_the_skirts_of_an_average_of_many_brains_are_left_out(average, rng, monkeypatch, stray):
    """It fades over several layers, so that none is much fainter than the one below."""
    data, share = average
    data[tuple(rng.permutation(np.argwhere(share > 0.9))[:50].T)] *= stray
    found = without_faded_edge(data, data > 0)
    half = np.count_nonzero(share >= 0.5)
    assert 1.0 < found.sum() / half < 1.1
    assert found[share > 0.7].all()
    assert np.mean(found[(share > 0) & (share < 0.1)]) < 0.01
    monkeypatch.setattr(faded, "SKIRT", 0.0)
    assert without_faded_edge(data, data > 0).sum() / half > 1.2  # negative control


def test_a_coil_does_not_move_the_edge_of_an_average(average, monkeypatch):
    data, _ = average
    coil = data * np.geomspace(1.0, 4.0, data.shape[1])[:, None]

    def moved():
        return wrong(without_faded_edge(coil, coil > 0), without_faded_edge(data, data > 0))

    assert moved() < 0.006
    monkeypatch.setattr(faded, "WINDOWS", 1)
    assert moved() > 0.009  # negative control: one brightness for all of the brain


def test_a_brain_stays_as_it_was_cut(alone, brain):
    assert without_faded_edge(alone, brain) is brain


@pytest.mark.parametrize("share", [0.5, 0.25])
def test_dark_fluid_around_a_brain_is_no_faded_edge(alone, brain, sample_truth, share, monkeypatch):
    dark = np.where(sample_truth == 3, share * alone, alone)
    assert without_faded_edge(dark, brain) is brain
    monkeypatch.setattr(faded, "STEEP", 0.0)
    monkeypatch.setattr(faded, "FADED", 0.0)
    assert wrong(without_faded_edge(dark, brain), brain) > 0.001  # negative control


@pytest.fixture(params=[1, 2, 3])
def loose(request, sample_t1, brain):
    """The sample with 2, 4 and 6 mm of fluid, bone and scalp left around its brain, and where."""
    scan = np.asarray(nib.load(sample_t1).dataobj).astype(np.float32)
    inside = ndimage.binary_dilation(brain, iterations=request.param)
    return np.where(inside, scan + 1, np.float32(0)), inside


def test_what_was_left_around_a_loosely_cut_brain_is_no_skirt(loose, monkeypatch):
    """It is no brain, but it ends as it was cut."""
    data, inside = loose
    assert without_faded_edge(data, inside) is inside
    monkeypatch.setattr(faded, "STEEP", 0.0)
    monkeypatch.setattr(faded, "FADED", 0.0)
    assert wrong(without_faded_edge(data, inside), inside) > 0.002  # negative control


def test_a_rim_of_black_bone_goes_and_nothing_of_the_brain_with_it(loose, brain, monkeypatch):
    """Compact bone may be as dark as a skirt; fluid, which lies next to it, is not."""
    data, inside = loose
    data = np.where(brain, data, np.float32(0.02) * data)
    found = without_faded_edge(data, inside)
    assert np.count_nonzero(found & ~brain) < 0.001 * np.count_nonzero(inside & ~brain)
    assert found[brain].all()
    monkeypatch.setattr(faded, "HALF_FLUID", 0.6)
    assert np.mean(without_faded_edge(data, inside)[brain]) < 0.99  # negative control


def test_standard_scores_do_not_say_how_much_of_a_voxel_is_brain(alone, brain):
    scores = np.where(brain, (alone - alone[brain].mean()) / alone[brain].std(), np.float32(0))
    data = turned(scores)
    inside = data != 0
    assert without_faded_edge(data, inside) is inside


def test_the_border_of_the_image_is_no_edge(alone, brain):
    """However dark a voxel that lies on it, it stays."""
    middle = brain.shape[2] // 2
    data = turned(alone)[:, :, middle:]
    inside = ndimage.binary_fill_holes(data != 0)
    deep = ndimage.binary_erosion(inside[:, :, 0], iterations=3)
    data[:, :, 0][deep] *= 0.2
    found = without_faded_edge(data, inside)
    assert found[:, :, 0][deep].all()
    assert found.sum() < inside.sum()


def test_missing_voxels_count_as_background(alone):
    data = turned(alone)
    inside = data != 0
    holes = data.copy()
    holes[:, ::2][~inside[:, ::2]] = np.nan
    assert np.array_equal(without_faded_edge(holes, inside), without_faded_edge(data, inside))
    holes[~inside] = np.nan
    assert without_faded_edge(holes, inside) is inside  # nothing says what the background was
