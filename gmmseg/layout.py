"""Copies of arrays in another order of their voxels in memory, at the speed of memory."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numba import njit

from gmmseg.threads import spread

SIDE = 256  # voxels along the source's memory that are turned at a time, with all that lie across


def laid_out(array: np.ndarray, order: Literal["C", "F"]) -> np.ndarray:
    """Array of the same values, contiguous in ``order``.

    NumPy walks along one axis of the result; where the source lies along another, it fetches a
    whole line of the cache for each number, and many of these crowd into one place of the cache
    where sides are powers of two. Planes that hold both axes take a fifth of the time there.

    Parameters
    ----------
    array : ndarray, of any strides; images, which have three axes, gain by it
    order : {"C", "F"}
        Last axis next to each other in memory, or the first.

    Returns
    -------
    ndarray; ``array`` itself where it is laid out like that already

    >>> laid_out(np.arange(6).reshape(2, 3), "F").flags.f_contiguous
    True
    """
    if array.flags.c_contiguous if order == "C" else array.flags.f_contiguous:
        return array
    out = np.empty(array.shape, array.dtype, order=order)
    to = array.ndim - 1 if order == "C" else 0
    source = int(np.argmin(np.where(np.array(array.shape) > 1, np.abs(array.strides), np.inf)))
    if array.ndim != 3 or source == to or array.dtype.itemsize > 8:
        out[...] = array
        return out
    axes = (source, to, 3 - source - to)
    bits = np.dtype(f"u{array.dtype.itemsize}")  # one kernel for all types of a size
    from_, to_ = (a.view(bits).transpose(axes) for a in (array, out))
    spread(_turn, from_.shape[2], from_, to_)
    return out


@njit(cache=True, nogil=True)
def _turn(first: int, stop: int, source: np.ndarray, out: np.ndarray) -> None:
    """Copy planes of the first two axes: next to each other along one here, along the other there.

    A plane goes through the cache, where it is turned, in long runs of memory on either side: each
    run is a page of its own, and what has to be looked up for a page costs more than its voxels.
    """
    rows, columns, _ = source.shape
    # One more to a line, or a column would crowd into one place of the cache.
    plane = np.empty((columns, min(rows, SIDE) + 1), source.dtype)
    for k in range(first, stop):
        for low in range(0, rows, SIDE):
            high = min(low + SIDE, rows)
            for j in range(columns):
                for i in range(low, high):
                    plane[j, i - low] = source[i, j, k]
            for i in range(low, high):
                for j in range(columns):
                    out[i, j, k] = plane[j, i - low]
