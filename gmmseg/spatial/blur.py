"""Gaussian blur of class maps, and of maps that get coarser with it."""

from collections.abc import Sequence

import numpy as np
from numba import njit

from gmmseg.threads import spread

TRUNCATE = 4.0  # standard deviations, as in scipy.ndimage


def blurred(maps: np.ndarray, sigma: np.ndarray, step: Sequence[int] = (1, 1, 1)) -> np.ndarray:
    """Class maps blurred along the first three axes, summing to one again afterwards.

    Equal to :func:`scipy.ndimage.gaussian_filter` of each class, ``mode="nearest"``, up to
    rounding; several times faster because classes lie side by side.

    Parameters
    ----------
    maps : (X, Y, Z, K) float32 ndarray, not negative
    sigma : (3,) float, standard deviation along each axis, voxels
    step : (3,) int, keep every so many voxels of each axis, from the first on

    Returns
    -------
    (x, y, z, K) float32 ndarray, ``ceil(n / step)`` voxels along each axis
    """
    source = np.ascontiguousarray(maps, np.float32)
    sides = [-(-n // every) for n, every in zip(maps.shape, step, strict=False)]
    out = np.empty((*sides, maps.shape[-1]), np.float32)
    kernels = [_gaussian(width) for width in sigma]
    spread(_blur, len(out), source.reshape(*maps.shape[:2], -1), *kernels, *step, out)
    return out


def _gaussian(sigma: float) -> np.ndarray:
    """Kernel of a Gaussian, ``sigma`` in voxels."""
    radius = int(TRUNCATE * sigma + 0.5)
    kernel = np.exp(-0.5 * (np.arange(-radius, radius + 1) / sigma) ** 2)
    return np.asarray(kernel / kernel.sum(), np.float32)


@njit(cache=True, nogil=True)
def _blur(
    first: int,
    stop: int,
    source: np.ndarray,
    along_x: np.ndarray,
    along_y: np.ndarray,
    along_z: np.ndarray,
    step_x: int,
    step_y: int,
    step_z: int,
    out: np.ndarray,
) -> None:
    """Blur plane by plane along all three axes: no map is written that is not kept.

    ``source`` (X, Y, Z K) has the classes of a row side by side, ``out`` is (x, y, z, K).
    """
    ny, width = source.shape[1:]
    n_classes, radius = out.shape[3], len(along_z) // 2
    plane = np.empty((ny, width), np.float32)
    held = np.empty(width + 2 * radius * n_classes, np.float32)  # a row, and what its ends go on as
    low, high = radius * n_classes, radius * n_classes + width
    row = np.empty(width, np.float32)
    for i in range(first, stop):
        for j in range(ny):
            _weighted(source[:, j], i * step_x, along_x, plane[j])
        for j in range(out.shape[1]):
            _weighted(plane, j * step_y, along_y, held[low:high])
            for c in range(low):
                held[c] = held[low + c % n_classes]
                held[high + c] = held[high - n_classes + c % n_classes]
            for c in range(width):
                row[c] = along_z[radius] * held[low + c]
            for t in range(1, radius + 1):  # the kernel is symmetric
                below, above = held[low - t * n_classes :], held[low + t * n_classes :]
                for c in range(width):
                    row[c] += along_z[radius + t] * (below[c] + above[c])
            for k in range(out.shape[2]):
                total = np.float32(0.0)
                for c in range(n_classes):
                    total += row[k * step_z * n_classes + c]
                for c in range(n_classes):
                    out[i, j, k, c] = row[k * step_z * n_classes + c] / total


@njit(cache=True, nogil=True)
def _weighted(rows: np.ndarray, at: int, kernel: np.ndarray, out: np.ndarray) -> None:
    """Blurred row ``at`` of (n, m) rows, which are held constant beyond the first and last."""
    radius = len(kernel) // 2
    for c in range(len(out)):
        out[c] = kernel[radius] * rows[at, c]
    for t in range(1, radius + 1):
        below, above = rows[max(at - t, 0)], rows[min(at + t, len(rows) - 1)]
        for c in range(len(out)):
            out[c] += kernel[radius + t] * (below[c] + above[c])
