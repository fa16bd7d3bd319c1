"""Boxes around masks."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from gmmseg.spatial.boxes import box_of


def test_the_box_of_a_mask_has_its_margin_where_there_is_room():
    mask = np.zeros((10, 10, 10), bool)
    mask[3:5, 0:4, 6:10] = True
    assert box_of(mask) == (slice(3, 5), slice(0, 4), slice(6, 10))
    assert box_of(mask, (1, 1, 1)) == (slice(2, 6), slice(0, 5), slice(5, 10))


@given(seed=st.integers(0, 2**32 - 1), density=st.sampled_from([0.002, 0.02, 0.5]))
def test_nothing_lies_beyond_the_box_and_each_face_of_it_is_touched(seed, density):
    rng = np.random.default_rng(seed)
    mask = rng.random((7, 9, 5)) < density
    mask[tuple(rng.integers(0, mask.shape))] = True
    # in any order of memory, also one that runs backwards, as scans turned to RAS+ have
    flip = tuple(slice(None, None, int(step)) for step in rng.choice([-1, 1], 3))
    laid_out = np.ascontiguousarray(mask.transpose(2, 0, 1)[flip])[flip].transpose(1, 2, 0)
    assert np.array_equal(laid_out, mask)
    cut = mask[box_of(laid_out)]
    assert cut.sum() == mask.sum()
    for axis in range(3):
        assert cut.take(0, axis).any()
        assert cut.take(-1, axis).any()
