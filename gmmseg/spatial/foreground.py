"""Where the head is, and whether its skull was taken off already."""

from collections.abc import Sequence
from functools import partial
from itertools import pairwise

import numpy as np
from numba import njit
from scipy import ndimage

from gmmseg.spatial.components import filled, largest_component, solid_component
from gmmseg.spatial.floor import negative_floor
from gmmseg.spatial.stamp import stamped
from gmmseg.threads import spread

BLUR_MM = 3.0
CLOSING_MM = 10.0
FULL = 0.95  # of the image: that much head, and what fills the air is noise
NOISE_MM, N_DEVIATIONS, AROUND_MM = 4.0, 1.5, 20.0
"""Window in which brightness and its spread are taken; how many spreads count against it; how far
the head reaches beyond its even parts."""
BRAIN_ML = (300.0, 2300.0)
"""Volumes of a brain with its CSF, infant to adult; an adult's head has at least 2.5 litres."""
STRAY = 0.1  # of a brain: so much may lie apart from it
MOST = 0.8  # of the image: a scan whose surroundings were taken off has less left
UNEVEN, EVEN, QUIET = 0.02, 1e-3, 0.92
"""How far the ripples of interpolation reach beyond the background, and how near most of it stays
to one value, of the range of intensities; how much of it that is. Stripped scans turned by splines
keep .93 and more so near on eight; heads with the noise of their air have up to .43 there."""
SHELLS_MM = np.arange(3.0, 33.0, 3.0)  # below the surface: scalp, bone and what lies within
SKULL_DIP = 0.8
"""Median of a shell over that of one above it and one below it, the darker of the two. Brains grow
brighter with depth, or darker in T2 (.84 and more on ten, as they are and inverted); heads have
bone there (up to .77 on eight, also where their headers make them 60 per cent as large)."""
UNEVEN_DIP = 0.9
"""The same where a threshold gives the mask, and leaves some bone out: .94 and more on 26 brains
turned by splines, up to .84 on ten heads made 80 per cent as large."""


def head_foreground(values: np.ndarray, spacing: Sequence[float] | np.ndarray) -> np.ndarray:
    """Mask of the head in a coarse image: everything but the air around it.

    Air is left out of the alignment because a wide field of view full of it lets the atlas shrink
    (`docs/design.md`, part 3).

    Parameters
    ----------
    values : (X, Y, Z) float ndarray, finite, background low
    spacing : (3,) mm

    Returns
    -------
    (X, Y, Z) bool ndarray; empty where nothing stands out
    """
    from skimage.filters import threshold_otsu

    # Noise in the air must not pass for head: blur before the threshold.
    blurred = ndimage.gaussian_filter(values, BLUR_MM / np.asarray(spacing))
    clipped = np.clip(blurred, None, np.quantile(blurred, 0.995))
    if clipped.min() == clipped.max():
        return np.zeros(values.shape, bool)
    # Half of Otsu's threshold: bone and CSF are dark, air is darker.
    low = clipped.min()
    # Raveled: three slices would be taken for the channels of a colour image, with a warning.
    bright = clipped > low + 0.5 * (threshold_otsu(clipped.ravel()) - low)
    radius = np.maximum(1, np.rint(CLOSING_MM / np.asarray(spacing))).astype(int)
    padded = np.pad(bright, [(r, r) for r in radius])
    reach = np.argwhere(ellipsoid(radius)) - radius
    closed = ~stamped(~stamped(padded, reach), reach)
    closed = closed[tuple(slice(r, -r) for r in radius)]
    opened = ndimage.binary_opening(filled(closed), iterations=2)
    head = largest_component(opened)
    for k in range(head.shape[2]):
        head[:, :, k] = filled(head[:, :, k])
    return head if head.mean() <= FULL else _even_head(values, spacing)


def _even_head(values: np.ndarray, spacing: Sequence[float] | np.ndarray) -> np.ndarray:
    """Head in a scan whose air is as bright as tissue (MP2RAGE): there it is even, air is not."""
    from skimage.filters import threshold_otsu

    sigma = NOISE_MM / np.asarray(spacing)
    mean = ndimage.gaussian_filter(values, sigma)
    variance = ndimage.gaussian_filter(values**2, sigma) - mean**2
    even = np.maximum(mean - N_DEVIATIONS * np.sqrt(np.maximum(variance, 0)), 0)
    core = largest_component(ndimage.binary_opening(even > threshold_otsu(even.ravel())))
    if not core.any():
        return np.ones(values.shape, bool)
    return np.asarray(ndimage.distance_transform_edt(~core, sampling=spacing) < AROUND_MM)


def ellipsoid(radius: np.ndarray) -> np.ndarray:
    """Bool structuring element of the whole half-axes ``radius`` (3,), voxels."""
    grid = np.ogrid[tuple(slice(-r, r + 1) for r in radius)]
    return np.asarray(sum((g / r) ** 2 for g, r in zip(grid, radius, strict=True)) <= 1.0)


def stripped_brain(
    data: np.ndarray, spacing: Sequence[float] | np.ndarray, *, force: bool = False
) -> np.ndarray | None:
    """Mask of the brain in a scan whose surroundings were set to one value.

    Interpolation may have made that uneven since, by splines above all.

    Parameters
    ----------
    data : (X, Y, Z) float32 ndarray; NaN counts as background
    spacing : (3,) voxel size, mm
    force : bool, take the foreground for the brain whatever its size

    Returns
    -------
    (X, Y, Z) bool ndarray, or None where this is no skull-stripped brain
    """
    spacing = np.asarray(spacing, np.float64)
    ripples = partial(_off_ripples, spacing=spacing, force=force)
    other = None  # no brain by its size, but said to be one
    for stands_out, dip in ((_off_constant, SKULL_DIP), (ripples, UNEVEN_DIP)):
        inside = stands_out(data)
        if inside is None:
            continue
        n_inside, most = np.count_nonzero(inside), BRAIN_ML[1] * 1000 / np.prod(spacing)
        if n_inside > (1 + STRAY) * most and not force:
            continue  # whatever the largest part of it is, that or the rest is too much
        brain = solid_component(inside)
        n_brain = np.count_nonzero(brain)
        stray = np.count_nonzero(inside & ~brain)
        if (
            BRAIN_ML[0] < n_brain * np.prod(spacing) / 1000 < BRAIN_ML[1]
            and stray <= STRAY * n_brain
        ):
            skull = not force and _has_skull(data, brain, spacing, dip)
            return None if skull else brain
        if other is None:
            other = brain
    return other if force else None


def _off_constant(data: np.ndarray) -> np.ndarray | None:
    """What differs from a background of one value; None where that is nearly all of the image."""
    planes = np.empty((len(data), 4))
    spread(_darkest, len(data), data, planes)
    lowest, at_lowest, zeros, missing = planes.T
    low = lowest.min()
    n_low = at_lowest[lowest == low].sum()
    background, n = (0.0, zeros.sum()) if zeros.sum() > n_low else (low, n_low)
    n_missing = missing.sum()
    if data.size - n - n_missing > MOST * data.size:
        return None
    inside = np.not_equal(data, data.dtype.type(background))
    if n_missing:
        inside &= ~np.isnan(data)
    return inside


@njit(cache=True, nogil=True)
def _darkest(first: int, stop: int, data: np.ndarray, planes: np.ndarray) -> None:
    """Of each plane the lowest value, and how many voxels have it, are zero, or are missing."""
    for i in range(first, stop):
        low, n_low, zeros, missing = np.inf, 0, 0, 0
        for j in range(data.shape[1]):
            for k in range(data.shape[2]):
                value = data[i, j, k]
                if value < low:
                    low, n_low = value, 0
                n_low += value == low
                zeros += value == 0
                missing += np.isnan(value)
        planes[i, 0], planes[i, 1], planes[i, 2], planes[i, 3] = low, n_low, zeros, missing


def _off_ripples(data: np.ndarray, spacing: np.ndarray, force: bool) -> np.ndarray | None:
    """What stands out from a background that was of one value before it was interpolated.

    None where it is nearly all of the image; unless ``force``, also where most of the background
    is not of one value still, as the noise in air is not, or where what stands out is no brain by
    its volume.
    """
    thin = data[::3, ::3, ::3]
    thin = thin[np.isfinite(thin)]
    low, high = np.quantile(thin, [0.005, 0.995]) if thin.size else (0.0, 0.0)
    if not low < high:
        return None
    counts, edges = np.histogram(thin, 256, (low, high))
    fullest, reach = int(np.argmax(counts)), UNEVEN * (high - low)
    below, above = edges[fullest] - reach, edges[fullest + 1] + reach
    value = np.median(thin[(thin >= edges[fullest]) & (thin <= edges[fullest + 1])])
    rest = thin[(thin >= below) & (thin <= above)]
    quiet = np.mean(np.abs(rest - value) < EVEN * (high - low)) >= QUIET
    dark, bright = np.mean(thin < below), np.mean(thin > above)
    if dark < bright / 4:  # ripples, which lie outside; else intensities of both signs
        dark, below = 0.0, -np.inf
    volume = (dark + bright) * data.size * np.prod(spacing) / 1000
    likely = quiet and BRAIN_ML[0] < volume < BRAIN_ML[1]
    if dark + bright > MOST or not (force or likely):
        return None
    return np.asarray((data > above) | (data < below))


def _has_skull(data: np.ndarray, mask: np.ndarray, spacing: np.ndarray, dip: float) -> bool:
    """Whether a shell below the surface of a mask is darker than what lies above and below it."""
    thin = tuple(slice(None, None, max(1, round(2.0 / mm))) for mm in spacing)
    step = np.array([side.step for side in thin])
    padded = np.pad(mask[thin], 1)
    depth = ndimage.distance_transform_edt(padded, sampling=spacing * step)[1:-1, 1:-1, 1:-1]
    values, medians = data[thin] - np.float32(negative_floor(data[mask])), []
    for low, high in pairwise(SHELLS_MM):
        shell = values[(depth > low) & (depth <= high) & np.isfinite(values)]
        if not shell.size:
            break
        medians.append(float(np.median(shell)))
    shells = np.array(medians)
    above, below = np.maximum.accumulate(shells), np.maximum.accumulate(shells[::-1])[::-1]
    return bool((shells < dip * np.minimum(above, below)).any())
