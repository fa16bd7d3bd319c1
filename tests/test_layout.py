"""Copies in another order of memory."""

import hypothesis.extra.numpy as arrays
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gmmseg.layout import SIDE, laid_out


@given(
    shape=arrays.array_shapes(min_dims=1, max_dims=4, min_side=1, max_side=35),
    kind=st.sampled_from([np.uint8, np.int16, np.float32, np.float64, np.bool_, np.complex128]),
    order=st.sampled_from(["C", "F"]),
    data=st.data(),
)
def test_a_copy_has_the_values_of_its_source_and_the_order_asked_for(shape, kind, order, data):
    values = np.arange(np.prod(shape)).reshape(shape).astype(kind)
    turned = values.transpose(data.draw(st.permutations(range(values.ndim))))
    flips = tuple(
        slice(None, None, data.draw(st.sampled_from([1, -1, 2]))) for _ in range(values.ndim)
    )
    source = turned[flips]

    out = laid_out(source, order)

    assert np.array_equal(out, source)
    assert out.dtype == source.dtype
    assert out.flags[f"{order}_CONTIGUOUS"]


@pytest.mark.parametrize("shape", [(3, 5, 2 * SIDE + 1), (2 * SIDE + 1, 5, 3), (SIDE, 1, SIDE)])
def test_arrays_longer_than_what_is_turned_at_a_time_are_turned_whole(rng, shape):
    values = rng.random(shape, np.float32)

    assert np.array_equal(laid_out(values, "F"), values)
    assert laid_out(values, "F").flags.f_contiguous
    assert np.array_equal(laid_out(np.asfortranarray(values), "C"), values)


def test_an_array_in_the_right_order_is_not_copied():
    values = np.zeros((3, 4, 5))

    assert laid_out(values, "C") is values
    assert laid_out(values.T, "F").base is values
