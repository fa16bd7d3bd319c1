"""Masks grown by a structuring element, however large, at the cost of their border alone."""

from __future__ import annotations

import numpy as np
from numba import njit

from gmmseg.threads import spread


def stamped(mask: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    """Voxels of a mask and those at any of the offsets from one of its voxels.

    Equal to :func:`scipy.ndimage.binary_dilation` by the element of these offsets.

    Parameters
    ----------
    mask : (X, Y, Z) bool ndarray
    offsets : (N, 3) int ndarray, voxels
        Of a convex element around zero: what an inner voxel reaches, one at the border does too,
        and what it has along the last axis has no gap.

    Returns
    -------
    (X, Y, Z) bool ndarray

    Examples
    --------
    >>> mask = np.zeros((3, 3, 3), bool)
    >>> mask[0, 1, 1] = True
    >>> int(stamped(mask, np.array([(-1, 0, 0), (0, 0, 0), (1, 0, 0)])).sum())
    2
    """
    lines = np.unique(offsets[:, :2], axis=0)
    of_line = [offsets[(offsets[:, :2] == line).all(axis=1), 2] for line in lines]
    lines = np.column_stack([lines, [z.min() for z in of_line], [z.max() for z in of_line]])
    out = np.zeros(mask.shape, bool)
    spread(_stamp, len(mask), np.ascontiguousarray(mask), lines, out)
    return out


@njit(cache=True, inline="always")
def _at_border(mask: np.ndarray, i: int, j: int, k: int) -> bool:
    """Whether a voxel of a mask has a face to one that is not of it."""
    nx, ny, nz = mask.shape
    return (
        (i > 0 and not mask[i - 1, j, k])
        or (i < nx - 1 and not mask[i + 1, j, k])
        or (j > 0 and not mask[i, j - 1, k])
        or (j < ny - 1 and not mask[i, j + 1, k])
        or (k > 0 and not mask[i, j, k - 1])
        or (k < nz - 1 and not mask[i, j, k + 1])
    )


@njit(cache=True, nogil=True)
def _stamp(first: int, stop: int, mask: np.ndarray, lines: np.ndarray, out: np.ndarray) -> None:
    """Set ``out`` in a mask and at all ``lines`` (N, 4) from its border, a run of it at a time.

    A line is an offset along the first two axes, and from where to where it goes along the third.
    Several threads may set one voxel; all of them set it to the same.
    """
    nx, ny, nz = mask.shape
    for i in range(first, stop):
        for j in range(ny):
            begun = -1  # where the present run of border voxels began
            for k in range(nz + 1):
                inside = k < nz and mask[i, j, k]
                if inside:
                    out[i, j, k] = True
                if inside and _at_border(mask, i, j, k):
                    begun = k if begun < 0 else begun
                elif begun >= 0:
                    for n in range(len(lines)):
                        a, b = i + lines[n, 0], j + lines[n, 1]
                        if 0 <= a < nx and 0 <= b < ny:
                            low = max(begun + lines[n, 2], 0)
                            stop_at = min(k + lines[n, 3], nz)  # the run ends at k - 1
                            out[a, b, low:stop_at] = True
                    begun = -1
