"""Sums of logarithms, for kernels that are done sooner than so many logarithms are taken."""

from __future__ import annotations

import numpy as np
from numba import njit

SMALL, LARGE = 1e-150, 1e150  # two factors within them make no product beyond what a float holds


@njit(cache=True, inline="always")
def multiplied(total: float, product: float, factor: float) -> tuple[float, float]:
    """A sum of logs and a product whose log is to be added, with one more factor in the product.

    The log is taken where the product would soon leave the range of a float; what is sought in the
    end is ``total + log(product)``, nats. A factor is to lie between ``SMALL`` and ``LARGE``, or to
    be zero, infinite or NaN, which go on to the sum as their logs would.

    >>> total, product = 0.0, 1.0
    >>> for factor in (1e-100, 1e-90, 2.0):
    ...     total, product = multiplied(total, product, factor)
    >>> print(f"{total + np.log(product):.6f}, {190 * np.log(0.1) + np.log(2):.6f}")
    -436.798020, -436.798020
    """
    product *= factor
    if SMALL < product < LARGE:
        return total, product
    return total + np.log(product), 1.0
