"""Posteriors at a temperature: the same order, less sure, whatever the threads."""

import numpy as np
import pytest
from scipy import special

from gmmseg.spatial.temperature import field_temperature, soften


@pytest.fixture
def marginals(rng):
    """Rows that sum to one, some of them sure; and where to change them."""
    logits = rng.normal(0, 3, (9, 8, 7, 4))
    logits[0] *= 20  # all but one class below float32
    return special.softmax(logits, axis=-1).astype(np.float32), rng.random((9, 8, 7)) < 0.7


@pytest.mark.parametrize("temperature", [1.0, 1.5, 2.2])
def test_softened_marginals_are_the_softmax_of_their_logarithms_over_the_temperature(
    marginals, temperature
):
    q, where = marginals
    before = q.copy()
    with np.errstate(divide="ignore"):
        expected = special.softmax(np.log(before.astype(np.float64)) / temperature, axis=-1)

    soften(q, where, temperature)

    np.testing.assert_allclose(q[where], expected[where], rtol=1e-5, atol=1e-12)
    np.testing.assert_array_equal(q[~where], before[~where])
    np.testing.assert_array_equal(q.argmax(-1), before.argmax(-1))


def test_the_number_of_threads_changes_no_bit_of_softened_marginals(marginals, alone_and_together):
    def softened():
        q = marginals[0].copy()
        soften(q, marginals[1], 1.5)
        return q

    one, other = alone_and_together(softened)
    np.testing.assert_array_equal(one, other)


def test_a_stronger_field_is_hotter_and_none_is_hotter_than_what_it_starts_from():
    temperatures = [field_temperature(strength) for strength in (0.0, 0.1, 0.3, 0.8)]
    assert np.diff(temperatures).min() > 0
    assert temperatures[0] > 1
