"""Where intensities begin: padding and stray values are no part of them."""

import numpy as np
import pytest

from gmmseg.spatial.floor import negative_floor


def test_padding_and_stray_values_are_not_the_floor_of_the_intensities(rng):
    values = rng.normal(0, 1, 100_000)
    assert negative_floor(values) == values.min()
    assert negative_floor(values + 10) == 0
    assert negative_floor(np.append(values, [-1e4] * 50_000)) == pytest.approx(-3.1, abs=0.2)
    assert negative_floor(np.append(values, [-1e3, -2e3, -3e3])) == pytest.approx(-3.1, abs=0.2)
    assert negative_floor(np.append(values + 10, [-1e4] * 50_000)) == 0
    assert negative_floor(np.full(3, -5.0)) == -5
    assert negative_floor(np.array([np.nan])) == 0
