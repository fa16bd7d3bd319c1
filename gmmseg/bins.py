"""Bins for the histograms of pictures."""

from __future__ import annotations

import numpy as np

LARGEST_WHOLE = 2.0**53  # from here on floats are whole numbers, whatever they stand for


def told_apart(low: float, high: float) -> bool:
    """Whether floats tell whole numbers from ``low`` to ``high`` apart.

    >>> told_apart(-3.0, 7.0), told_apart(-1e17, 0.0)
    (True, False)
    """
    return max(abs(low), abs(high)) < LARGEST_WHOLE


def bin_edges(values: np.ndarray, n_bins: int) -> np.ndarray:
    """Edges of even bins; around whole numbers where values are whole, so that no comb appears.

    Parameters
    ----------
    values : (N,) ndarray, finite, at least one
    n_bins : int, how many bins there are, and at most where values are whole

    Returns
    -------
    (B + 1,) float64 ndarray

    >>> bin_edges(np.array([1.0, 2, 4]), 100), bin_edges(np.array([0.0, 0.5]), 2)
    (array([0.5, 1.5, 2.5, 3.5, 4.5]), array([0.  , 0.25, 0.5 ]))
    """
    low, high = float(values.min()), float(values.max())
    if high > low and told_apart(low, high) and np.array_equal(values, np.rint(values)):
        step = max(1, int(np.ceil((high - low + 1) / n_bins)))
        return np.arange(low - 0.5, high + step, step)
    return np.linspace(low, high if high > low else low + 1, n_bins + 1)


def some_finite(values: np.ndarray, count: int) -> np.ndarray:
    """Finite values from everywhere in an array (N,), ``count`` of them or somewhat more.

    >>> some_finite(np.array([1.0, 2, np.nan, 4, 5, 6, 7]), 3)
    array([1., 4., 6.])
    """
    values = values[np.isfinite(values)]  # first: holes may have a rhythm of their own
    return values[:: max(1, len(values) // count)]
