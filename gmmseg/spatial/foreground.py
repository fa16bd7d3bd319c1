"""Where the head is, and whether its skull was taken off already."""

from collections.abc import Sequence

import numpy as np
from scipy import ndimage

BLUR_MM = 3.0
CLOSING_MM = 10.0
BRAIN_ML = (300.0, 2300.0)
"""Volumes of a brain with its CSF, infant to adult; a whole head has at least 2.5 litres."""


def head_foreground(values: np.ndarray, spacing: Sequence[float] | np.ndarray) -> np.ndarray:
    """Mask of the head in a coarse image: everything but the air around it.

    Air is left out of the alignment because a wide field of view full of it lets the atlas shrink
    (DESIGN 3a, ii).

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
    values = ndimage.gaussian_filter(values, BLUR_MM / np.asarray(spacing))
    high = np.quantile(values, 0.995)
    clipped = np.clip(values, None, high)
    if clipped.min() == clipped.max():
        return np.zeros(values.shape, bool)
    # Half of Otsu's threshold: bone and CSF are dark, air is darker.
    low = clipped.min()
    bright = clipped > low + 0.5 * (threshold_otsu(clipped) - low)
    radius = np.maximum(1, np.rint(CLOSING_MM / np.asarray(spacing))).astype(int)
    padded = np.pad(bright, [(r, r) for r in radius])
    closed = ndimage.binary_closing(padded, ellipsoid(radius))
    closed = closed[tuple(slice(r, -r) for r in radius)]
    opened = ndimage.binary_opening(filled(closed), iterations=2)
    head = largest_component(opened)
    for k in range(head.shape[2]):
        head[:, :, k] = filled(head[:, :, k])
    return head


def ellipsoid(radius: np.ndarray) -> np.ndarray:
    """Bool structuring element of the whole half-axes ``radius`` (3,), voxels."""
    grid = np.ogrid[tuple(slice(-r, r + 1) for r in radius)]
    return np.asarray(sum((g / r) ** 2 for g, r in zip(grid, radius, strict=True)) <= 1.0)


def largest_component(mask: np.ndarray) -> np.ndarray:
    """The largest face-connected part of a mask; the mask itself where it is empty."""
    parts, n = ndimage.label(mask)
    if n < 2:
        return mask.copy()
    return parts == 1 + np.argmax(np.bincount(parts.ravel())[1:])


def filled(mask: np.ndarray) -> np.ndarray:
    """Fill what a mask encloses: background from which no path over faces leads to the border.

    Parameters
    ----------
    mask : bool ndarray

    Returns
    -------
    bool ndarray, as :func:`scipy.ndimage.binary_fill_holes` gives, which takes three times as long
    """
    parts, _ = ndimage.label(np.pad(~mask, 1, constant_values=True))
    # The added border makes all that is open one part, and the first.
    return np.asarray(parts[(slice(1, -1),) * mask.ndim] != 1)


def stripped_brain(data: np.ndarray, voxel_ml: float, *, force: bool = False) -> np.ndarray | None:
    """Mask of the brain in a scan whose surroundings were set to one constant value.

    Parameters
    ----------
    data : (X, Y, Z) float32 ndarray; NaN counts as background
    voxel_ml : float, volume of a voxel in mL
    force : bool, take the foreground for the brain whatever its size

    Returns
    -------
    (X, Y, Z) bool ndarray, or None where this is no skull-stripped brain
    """
    known = data[np.isfinite(data)]
    low = known.min()
    background = 0.0 if np.count_nonzero(known == 0) > np.count_nonzero(known == low) else low
    inside = np.isfinite(data) & (data != background)
    if inside.mean() > 0.8:
        return None
    brain = filled(largest_component(inside))
    if force:
        return brain
    volume = np.count_nonzero(brain) * voxel_ml
    if (
        not BRAIN_ML[0] < volume < BRAIN_ML[1]
        or np.count_nonzero(inside & ~brain) > 0.1 * brain.sum()
    ):
        return None
    return brain
