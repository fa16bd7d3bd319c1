"""The part of an image that something lies in."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

Box = tuple[slice, slice, slice]


def box_of(mask: np.ndarray, margin: Sequence[int] = (0, 0, 0)) -> Box:
    """Smallest box around a mask, and a margin as far as the image goes.

    Parameters
    ----------
    mask : (X, Y, Z) bool ndarray, true somewhere
    margin : (3,) int, voxels

    Returns
    -------
    three slices

    >>> mask = np.zeros((9, 9, 9), bool)
    >>> mask[2:5, 1, 8] = True
    >>> box_of(mask, (1, 2, 3))
    (slice(1, 6, None), slice(0, 4, None), slice(5, 9, None))
    """
    # NumPy is ten times as slow against the order of memory as along it.
    along = tuple(slice(None, None, -1 if stride < 0 else 1) for stride in mask.strides)
    upward, sides = mask[along], []
    for axis, (more, n) in enumerate(zip(margin, mask.shape, strict=True)):
        shadow = np.asarray(upward.any(axis=tuple({0, 1, 2} - {axis})))
        where = np.flatnonzero(shadow[along[axis]])
        low, high = int(where[0]) - more, int(where[-1]) + 1 + more
        sides.append(slice(max(low, 0), min(high, n)))
    return sides[0], sides[1], sides[2]
