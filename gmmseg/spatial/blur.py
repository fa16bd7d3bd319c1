"""Gaussian blur of class maps, and of maps that get coarser with it."""

from collections.abc import Sequence

import numpy as np
from numba import njit
from scipy import ndimage

from gmmseg.threads import spread

TRUNCATE = 4.0  # standard deviations, as in scipy.ndimage
WIDTH = 128  # numbers side by side that are blurred at a time


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
        source = out.reshape(int(np.prod(before)), out.shape[axis], -1)
        blocks = -(-source.shape[2] // WIDTH)
        spread(
            _blur, len(source) * blocks, source, blocks, kernel, every,
            filtered.reshape(len(source), kept, -1),
        )  # fmt: skip
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
    first: int,
    stop: int,
    source: np.ndarray,
    blocks: int,
    kernel: np.ndarray,
    step: int,
    out: np.ndarray,
) -> None:
    """Blur along the middle axis, so many of the last at a time as stay in the cache."""
    _, n, after = source.shape
    radius = len(kernel) // 2
    held = np.empty((n + 2 * radius) * WIDTH, np.float32)
    total = np.empty(n * WIDTH, np.float32)
    for task in range(first, stop):
        a, low = task // blocks, task % blocks * WIDTH
        width = min(WIDTH, after - low)
        for i in range(n + 2 * radius):  # held constant beyond the border
            row, at = min(max(i - radius, 0), n - 1), i * width
            for c in range(width):
                held[at + c] = source[a, row, low + c]
        size = n * width
        middle = held[radius * width :]
        for x in range(size):
            total[x] = kernel[radius] * middle[x]
        for t in range(1, radius + 1):  # the kernel is symmetric
            weight = kernel[radius + t]
            below, above = held[(radius - t) * width :], held[(radius + t) * width :]
            for x in range(size):
                total[x] += weight * (below[x] + above[x])
        for i in range(out.shape[1]):
            for c in range(width):
                out[a, i, low + c] = total[i * step * width + c]


@njit(cache=True, nogil=True)
def _normalise(first: int, stop: int, rows: np.ndarray) -> None:
    for n in range(first, stop):
        total = np.float32(0.0)
        for c in range(rows.shape[1]):
            total += rows[n, c]
        for c in range(rows.shape[1]):
            rows[n, c] /= total
