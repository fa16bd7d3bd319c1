"""Sums of logs by products: the same sum, also where a product would leave a float's range."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gmmseg.spatial.logsum import multiplied


def log_of_product(factors):
    total, product = 0.0, 1.0
    for factor in factors:
        total, product = multiplied(total, product, factor)
    with np.errstate(divide="ignore"):
        return total + np.log(product)


@given(st.lists(st.floats(-140, 140), max_size=40))
def test_it_is_the_sum_of_the_logs(exponents):
    factors = [10.0**exponent for exponent in exponents]
    assert log_of_product(factors) == pytest.approx(np.log(factors).sum(), rel=1e-12, abs=1e-12)


def test_a_thousand_small_factors_do_not_vanish():
    assert np.prod(np.full(1000, 1e-3)) == 0  # what a plain product comes to
    assert log_of_product(np.full(1000, 1e-3)) == pytest.approx(1000 * np.log(1e-3))


def test_what_is_impossible_stays_so_whatever_follows():
    assert log_of_product([2.0, 0.0, 3.0]) == -np.inf
    assert np.isnan(log_of_product([2.0, np.nan, 3.0]))
