"""One solid brain: what is cut off, what is kept, and distances against scipy's."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from gmmseg.spatial.onebrain import clean_brain, within

MM = np.array([2.0, 2.0, 2.0])


def ball(radius, centre, shape=(48, 48, 48)):
    grid = np.indices(shape)
    return sum((g - c) ** 2 for g, c in zip(grid, centre, strict=True)) <= radius**2


def clean(brain, fluid=False, spacing=MM):
    return clean_brain(brain | fluid, brain & ~np.asarray(fluid), spacing)


@pytest.fixture
def brain():
    return ball(12, (22, 24, 24))


def test_a_brain_without_blemish_stays_what_it_is(brain):
    np.testing.assert_array_equal(clean(brain), brain)


def test_an_island_goes(brain):
    np.testing.assert_array_equal(clean(brain | ball(4, (42, 42, 42))), brain)


def test_what_hangs_on_by_a_thread_goes_with_the_thread(brain):
    eye = ball(4, (43, 24, 24))
    thread = np.zeros_like(brain)
    thread[30:43, 24, 24] = True
    left = clean(brain | thread | eye)
    assert not left[eye].any()
    assert np.count_nonzero(left & ~brain) <= 2  # the stump of the thread
    assert left[brain].all()


def test_what_is_joined_by_a_broad_neck_stays(brain):
    """Negative control: the cerebellum hangs on the brain too."""
    joined = brain | ball(5, (37, 24, 24))
    assert np.count_nonzero(clean(joined) ^ joined) < 0.01 * joined.sum()


def sheet(brain, thickness):
    """Fluid that reaches out of the top of a brain to the side, so many voxels thick."""
    out = np.zeros_like(brain)
    out[24:44, 18:30, 33 : 33 + thickness] = True
    return out & ~brain


def test_a_sheet_of_fluid_far_from_tissue_goes(brain):
    fluid = sheet(brain, 2)
    far = fluid & ~within(brain, 6.0, MM)
    assert np.count_nonzero(far) > 100
    left = clean(brain, fluid)
    assert not left[far].any()
    assert left[brain].all()


def test_a_cistern_as_far_from_tissue_stays(brain):
    """Negative control: fluid with room in it is kept, but for its edges."""
    fluid = sheet(brain, 8)
    far = fluid & ~within(brain, 6.0, MM)
    assert np.count_nonzero(clean(brain, fluid) & far) > 0.9 * np.count_nonzero(far)


def test_a_sheet_of_tissue_stays(brain):
    """Negative control: the tentorium is fluid's neighbour, a fold of cortex is none."""
    fold = sheet(brain, 4)
    left = clean(brain | fold)
    assert np.count_nonzero(left & fold) > 0.9 * np.count_nonzero(fold)


def test_fluid_around_tissue_stays_however_thin(brain):
    rim = ball(13.4, (22, 24, 24)) & ~brain
    np.testing.assert_array_equal(clean(brain, rim), brain | rim)


def test_fluid_in_place_of_all_tissue_keeps_its_largest_part(brain):
    island = ball(3, (42, 42, 42))
    left = clean_brain(brain | island, np.zeros_like(brain), MM)
    np.testing.assert_array_equal(left, brain)


def test_an_enclosed_hole_is_filled_and_a_bay_is_not(brain):
    holed = brain.copy()
    holed[20:23, 23:26, 23:26] = False
    np.testing.assert_array_equal(clean(holed), brain)
    bay = brain.copy()
    bay[22, 24, :24] = False
    assert not clean(bay)[22, 24, 14:24].any()


def test_a_brain_cut_by_the_image_keeps_its_voxels_there(brain):
    cut = brain[:, :, 20:]
    np.testing.assert_array_equal(clean(cut), cut)


def test_nothing_comes_of_nothing():
    assert not clean(np.zeros((20, 20, 20), bool)).any()


def test_a_brain_too_thin_to_erode_keeps_its_largest_part():
    thin = np.zeros((20, 20, 20), bool)
    thin[4:16, 8, 8] = True
    thin[2, 2, 2] = True
    left = clean(thin)
    assert left[4:16, 8, 8].all()
    assert not left[2, 2, 2]


@settings(max_examples=30)
@given(
    seed=st.integers(0, 2**32 - 1),
    mm=st.floats(0.5, 4.0),
    spacing=st.tuples(*[st.floats(0.4, 1.5)] * 3),
    share=st.floats(0.001, 0.999),
)
def test_within_reaches_as_far_as_distances_say(seed, mm, spacing, share):
    """Distances by scipy; one voxel of an axis is reached, however long it is."""
    mask = np.random.default_rng(seed).random((9, 8, 7)) < share
    step = np.array(spacing)
    half = np.maximum(mm, step)
    if mask.any():
        distance = ndimage.distance_transform_edt(~mask, sampling=step / half)
        clear = np.abs(distance - 1) > 1e-4  # what lies on the very edge may go either way
    else:
        distance, clear = np.full(mask.shape, np.inf), np.ones(mask.shape, bool)
    np.testing.assert_array_equal(within(mask, mm, spacing)[clear], (distance < 1)[clear])
