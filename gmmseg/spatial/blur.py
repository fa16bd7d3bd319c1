"""Gaussian blur of class maps, and of maps that get coarser with it."""

from collections.abc import Sequence

import numpy as np
from numba import njit
from scipy import ndimage

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
    out = np.ascontiguousarray(maps, np.float32)
    for axis, (width, every) in enumerate(zip(sigma, step, strict=True)):
        radius = int(TRUNCATE * width + 0.5)
        x = np.arange(-radius, radius + 1)
        kernel = np.exp(-0.5 * (x / width) ** 2)
        kernel = (kernel / kernel.sum()).astype(np.float32)
        # (before, axis, after): every line along the axis moves whole rows of `after` numbers
        before, after = out.shape[:axis], out.shape[axis + 1 :]
        kept = -(-out.shape[axis] // every)
        filtered = np.empty((*before, kept, *after), np.float32)
        lines = int(np.prod(before))
        source = out.reshape(lines, out.shape[axis], -1)
        spread(_blur, lines * kept, source, kernel, every, filtered.reshape(lines, kept, -1))
        out = filtered
    rows = out.reshape(-1, maps.shape[-1])
    spread(_normalise, len(rows), rows)
    return out


def thinned(field: np.ndarray, pad: np.ndarray, step: np.ndarray) -> np.ndarray:
    """Pad a map with nothing, blur it by half a step and keep every ``step``-th voxel.

    Padding and voxels that are dropped anyway are not blurred; the result is the same bits.

    Parameters
    ----------
    field : (X, Y, Z) ndarray
    pad : (3,) int, voxels added on each side
    step : (3,) int

    Returns
    -------
    float32 ndarray, ``ceil((n + 2 pad) / step)`` voxels along each axis
    """
    out = np.asarray(field, np.float32)
    for axis, (p, s) in enumerate(zip(pad, step, strict=True)):
        reach = int(TRUNCATE * 0.5 * s + 0.5)
        left = max(0, (p - reach) // s)  # kept voxels that see nothing of the map
        total = -(-(out.shape[axis] + 2 * p) // s)
        near = min(p, reach + s)
        out = np.pad(out, [(p - left * s, near) if a == axis else (0, 0) for a in range(3)])
        out = ndimage.gaussian_filter1d(out, 0.5 * s, axis=axis)
        out = out[tuple(slice(None, None, s if a == axis else 1) for a in range(3))]
        out = out[tuple(slice(total - left if a == axis else None) for a in range(3))]
        right = total - left - out.shape[axis]
        out = np.pad(out, [(left, right) if a == axis else (0, 0) for a in range(3)])
    return out


@njit(cache=True, nogil=True)
def _blur(
    first: int, stop: int, source: np.ndarray, kernel: np.ndarray, step: int, out: np.ndarray
) -> None:
    _, n, after = source.shape
    kept = out.shape[1]
    radius = len(kernel) // 2
    for line in range(first, stop):
        a, i = line // kept, line % kept
        middle = i * step
        for c in range(after):
            out[a, i, c] = kernel[radius] * source[a, middle, c]
        for t in range(1, radius + 1):  # the kernel is symmetric
            w, low, high = kernel[radius + t], max(middle - t, 0), min(middle + t, n - 1)
            for c in range(after):
                out[a, i, c] += w * (source[a, low, c] + source[a, high, c])


@njit(cache=True, nogil=True)
def _normalise(first: int, stop: int, rows: np.ndarray) -> None:
    for n in range(first, stop):
        total = np.float32(0.0)
        for c in range(rows.shape[1]):
            total += rows[n, c]
        for c in range(rows.shape[1]):
            rows[n, c] /= total
