"""Copies of arrays in another order of their voxels in memory, at the speed of memory."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numba import njit

from gmmseg.threads import spread

TILE = 16  # voxels along the two axes that change places: a line of the cache in float32


def laid_out(array: np.ndarray, order: Literal["C", "F"]) -> np.ndarray:
    """Array of the same values, contiguous in ``order``.

    NumPy walks along one axis of the result; where the source lies along another, it fetches a
    whole line of the cache for each number, and many of these crowd into one place of the cache
    where sides are powers of two. Small tiles of both take a third of the time there.

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
    spread(_turn, _tiles(from_.shape[0]) * _tiles(from_.shape[1]), from_, to_)
    return out


@njit(cache=True, nogil=True)
def _tiles(n: int) -> int:
    return (n + TILE - 1) // TILE


@njit(cache=True, nogil=True)
def _turn(first: int, stop: int, source: np.ndarray, out: np.ndarray) -> None:
    """Copy tiles of the first two axes: next to each other along one here, along the other there.

    Through a tile of its own, so that no line of the cache is wanted twice: of images whose sides
    are powers of two all lines of a tile crowd into one place of it.
    """
    rows, columns, depth = source.shape
    tile = np.empty((TILE, TILE), source.dtype)
    for task in range(first, stop):
        i, j = task // _tiles(columns) * TILE, task % _tiles(columns) * TILE
        height, width = min(TILE, rows - i), min(TILE, columns - j)
        for k in range(depth):
            for b in range(width):
                for a in range(height):
                    tile[a, b] = source[i + a, j + b, k]
            for a in range(height):
                for b in range(width):
                    out[i + a, j + b, k] = tile[a, b]
