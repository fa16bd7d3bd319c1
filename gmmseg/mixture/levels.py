"""One column of whole numbers as weighted levels: a fit of millions of rows on hundreds."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from gmmseg.mixture import kernels
from gmmseg.mixture.passes import in_order

_FEWEST_ROWS = 4096  # below, a pass over the rows costs as little
_MOST_LEVELS = 2**16


def as_levels(X: Any, sample_weight: np.ndarray | None) -> tuple[np.ndarray, np.ndarray] | None:
    """Distinct values and their weights, if X is one long column of whole numbers.

    Parameters
    ----------
    X : array-like
    sample_weight : (N,) array-like, optional

    Returns
    -------
    levels : (L, 1) float64 ndarray, rising
    weights : (L,) float64 ndarray
        None instead of both where X is anything else: other shapes, too few rows,
        missing or fractional values, or so many levels that nothing would be gained.
    """
    if not isinstance(X, np.ndarray) or X.ndim != 2 or X.shape[1] != 1:
        return None
    if len(X) < _FEWEST_ROWS or X.dtype.kind not in "iuf" or X.dtype == np.float16:
        return None
    column = X[:, 0]
    if X.dtype.kind == "f" and not kernels.all_whole(column[:_FEWEST_ROWS]):
        return None  # the common case of real numbers leaves here, before any full pass
    low, high = column.min().item(), column.max().item()
    if not np.isfinite(high - low) or not high - low < min(_MOST_LEVELS, len(X) / 4):
        return None
    if X.dtype.kind == "f" and not kernels.all_whole(column):
        return None
    if sample_weight is not None:
        weight = np.asarray(sample_weight, dtype=np.float64)
        if weight.shape != column.shape or not (weight >= 0).all():
            return None  # the caller says what is wrong with them
        values = np.bincount(column.astype(np.int64) - int(low), weight)
    else:
        values = count_levels(column, int(low), int(high - low) + 1)
    used = np.flatnonzero(values)
    return (used + int(low)).astype(np.float64)[:, None], values[used].astype(np.float64)


def count_levels(column: np.ndarray, base: int, n_levels: int) -> np.ndarray:
    """How often each of ``n_levels`` whole numbers from ``base`` on occurs, int64."""
    return _count(lambda part: kernels.count_levels(part, base, n_levels), column)


def count_bins(column: np.ndarray, low: float, high: float, n_bins: int) -> np.ndarray:
    """How many values fall into each of equal bins from ``low`` to ``high``, int64.

    NaN is left out; all other values must lie within.
    """
    per_bin = n_bins / (high - low) if high > low else 0.0
    return _count(lambda part: kernels.count_bins(part, low, per_bin, n_bins), column)


def _count(task: Callable[[np.ndarray], np.ndarray], column: np.ndarray) -> np.ndarray:
    rows = max(2**16, -(-len(column) // 64))
    chunks = [(a, min(a + rows, len(column))) for a in range(0, len(column), rows)]
    parts = in_order(lambda chunk: task(column[chunk[0] : chunk[1]]), chunks, blas=False)
    total = next(parts)
    for part in parts:
        total += part
    return total
