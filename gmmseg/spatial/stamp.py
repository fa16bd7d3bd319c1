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
        Of a convex element around zero: what an inner voxel reaches, one at the border does too.

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
    out = np.zeros(mask.shape, bool)
    spread(_stamp, len(mask), np.ascontiguousarray(mask), offsets, out)
    return out


@njit(cache=True, nogil=True)
def _stamp(first: int, stop: int, mask: np.ndarray, offsets: np.ndarray, out: np.ndarray) -> None:
    """Set ``out`` at all ``offsets`` (N, 3) from the border of a mask.

    Several threads may set one voxel; all of them set it to the same.
    """
    nx, ny, nz = mask.shape
    for i in range(first, stop):
        for j in range(ny):
            for k in range(nz):
                if not mask[i, j, k]:
                    continue
                out[i, j, k] = True
                border = False
                for d in (-1, 1):
                    border |= 0 <= i + d < nx and not mask[i + d, j, k]
                    border |= 0 <= j + d < ny and not mask[i, j + d, k]
                    border |= 0 <= k + d < nz and not mask[i, j, k + d]
                if not border:
                    continue
                for n in range(len(offsets)):
                    a, b, c = i + offsets[n, 0], j + offsets[n, 1], k + offsets[n, 2]
                    if 0 <= a < nx and 0 <= b < ny and 0 <= c < nz:
                        out[a, b, c] = True
