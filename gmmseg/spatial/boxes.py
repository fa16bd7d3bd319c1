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
    plane = np.asarray(mask.any(axis=2))  # the indices of all its voxels take ten times as long
    shadows = (plane.any(axis=1), plane.any(axis=0), mask.any(axis=(0, 1)))
    sides = []
    for shadow, more, n in zip(shadows, margin, mask.shape, strict=True):
        where = np.flatnonzero(shadow)
        low, high = int(where[0]) - more, int(where[-1]) + 1 + more
        sides.append(slice(max(low, 0), min(high, n)))
    return sides[0], sides[1], sides[2]
