"""Whether a bias field is shading: does it dim grey and white matter alike?

Shading multiplies whatever tissue lies in it. Tissue itself varies too (white matter is brighter in
the corpus callosum, cortex paler around the central sulcus), and a field that follows such
variation moves the border between tissues away from where it is. The two are told apart by
estimating the slow variation of intensity in grey and in white matter separately: what they share
is shading, what they do not is tissue.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy import ndimage

from gmmseg.threads import spread_calls

BLUR_MM = 20.0  # standard deviation of the window in which a local mean is taken
MIN_SHARE = 0.05  # of the window that must be of the tissue


class Shading(NamedTuple):
    """Variances of the log intensity over the brain, both slow in space; no unit."""

    shared: float  # covariance of what grey and white matter show: shading
    apart: float  # half the variance of their difference: variation of tissue

    @property
    def ratio(self) -> float:
        """Shared over unshared variance; 0 where nothing can be told."""
        return max(self.shared, 0.0) / self.apart if self.apart > 0 else 0.0


def shading(
    values: np.ndarray,
    grey: np.ndarray,
    white: np.ndarray,
    spacing: Sequence[float] | np.ndarray,
) -> Shading:
    """Slow variation that grey and white matter share, and that they do not.

    Parameters
    ----------
    values : (X, Y, Z) float ndarray, intensities as scanned, image units
    grey, white : (X, Y, Z) bool ndarray, voxels of each tissue
    spacing : (3,) voxel size, mm

    Returns
    -------
    Shading; no variance at all where the tissues nowhere lie side by side

    Notes
    -----
    Local means are taken in log intensity, by normalised convolution (Knutsson & Westin 1993). The
    voxels of white matter that touch another tissue are left out, since they are mixed.
    """
    sigma = BLUR_MM / np.asarray(spacing)
    sure = [tissue & (values > 0) for tissue in (grey, ndimage.binary_erosion(white))]
    if not all(tissue.any() for tissue in sure):
        return Shading(0.0, 0.0)
    # SciPy lets go of the interpreter: each tissue on a thread of its own.
    (grey_field, grey_share), (white_field, white_share) = spread_calls(
        lambda tissue: _local_means(values, tissue, sigma), sure
    )
    both = (grey | white) & (grey_share > MIN_SHARE) & (white_share > MIN_SHARE)
    if np.count_nonzero(both) < 2:
        return Shading(0.0, 0.0)
    g, w = grey_field[both], white_field[both]
    return Shading(float(np.cov(g, w)[0, 1]), float(np.var(g - w)) / 2)


def _local_means(
    values: np.ndarray, known: np.ndarray, sigma: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Local means of the log where it is known, about their mean, and the share that is known."""
    log = np.where(known, np.log(np.where(known, values, 1.0)), 0.0)
    log[known] -= log[known].mean()
    share = ndimage.gaussian_filter(known.astype(np.float64), sigma)
    return ndimage.gaussian_filter(log, sigma) / np.maximum(share, 1e-9), share
