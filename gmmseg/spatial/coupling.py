r"""How strongly neighbours should pull: as strongly as noise mixes up the tissues.

A Potts field undoes errors that noise makes in one voxel and not in the next, and blunts what is
one voxel thin. Where neighbours share the noise (interpolated or averaged scans), or it is too
weak to turn one tissue into another, it can only blunt. So the white part of the noise is
measured, and the share of voxels that it alone would mislabel sets the strength.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from gmmseg.spatial.labelling import is_likeliest

LEAST, MOST = 0.3, 0.8  # nats per neighbour
GAIN = 4.0  # nats per neighbour for a share of one of voxels mislabelled
MIN_SITES = 500


def automatic_strength(share: float) -> float:
    """Potts coupling where white noise mislabels this share of voxels; nats per neighbour.

    From :data:`LEAST` on it grows by :data:`GAIN` times the share, up to :data:`MOST`.

    >>> [round(automatic_strength(share), 2) for share in (0, 0.02, 0.1, 0.5)]
    [0.3, 0.38, 0.7, 0.8]
    """
    return min(MOST, LEAST + GAIN * share)


def mislabelled(
    noise: float, means: Sequence[float] | np.ndarray, spreads: Sequence[float] | np.ndarray
) -> float:
    r"""Share of voxels that white noise alone takes for another tissue.

    Tissues that differ by less than they vary without the noise (cortical and deep grey matter, in
    an atlas that has both) are told apart by their place, and count as one.

    Parameters
    ----------
    noise : float
        Standard deviation of the white noise, image units; NaN if it is not known.
    means, spreads : (K,) sequences of float
        Mean and standard deviation of each tissue, image units, the noise included; NaN where a
        tissue has no intensity.

    Returns
    -------
    float, :math:`\Phi(-\Delta / 2 \sigma)` of the two tissues whose means lie closest, by
    :math:`\Delta`; 0 where the noise is not known or there is one tissue only

    Examples
    --------
    >>> [round(mislabelled(noise, (30, 70, 110), (12, 12, 12)), 3) for noise in (0, 10, 15, 30)]
    [0.0, 0.023, 0.091, 0.252]
    >>> round(mislabelled(10, (30, 70, 72, 110), (13, 13, 13, 13)), 3)  # 70 and 72 count as one
    0.029
    """
    if not noise > 0:
        return 0.0
    spread = np.asarray(spreads, np.float64)
    own = np.sqrt(np.maximum(spread**2 - noise**2, 0.0))  # without the noise
    known = sorted((m, s) for m, s in zip(means, own, strict=True) if np.isfinite(m))
    steps = [
        above - below
        for (below, one), (above, other) in pairwise(known)
        if above - below > max(one, other)
    ]
    return 0.5 * math.erfc(float(min(steps)) / (noise * math.sqrt(8))) if steps else 0.0


def white_noise(
    values: np.ndarray, where: np.ndarray, spacing: Sequence[float] | np.ndarray
) -> float:
    """Standard deviation of the part of the noise that neighbouring voxels do not share.

    Parameters
    ----------
    values : (X, Y, Z) float ndarray, image units
    where : (X, Y, Z) bool ndarray, voxels that count: tissue of little contrast of its own
    spacing : (3,) voxel size, mm; the two finest axes are used

    Returns
    -------
    float, image units; NaN with fewer than :data:`MIN_SITES` voxels

    References
    ----------
    Immerkaer (1996), doi 10.1006/cviu.1996.0060, with the median absolute deviation in place of
    the mean: the operator takes out planes and straight edges, the median what is left of them.
    """
    axes = np.argsort(spacing, kind="stable")[:2]
    if min(values.shape[axis] for axis in axes) < 3:
        return float("nan")
    inner = [slice(None)] * 3
    rough = values
    for axis in axes:
        rough = np.diff(rough, 2, axis=int(axis))
        inner[axis] = slice(1, -1)
    rough = rough[where[tuple(inner)]]
    rough = rough[np.isfinite(rough)]
    if len(rough) < MIN_SITES:
        return float("nan")
    # 1, -2, 1 along both axes sums nine independent deviations to six times one of them
    return float(1.4826 * np.median(np.abs(rough)) / 6)


def middle_noise(
    values: np.ndarray,
    log_joint: np.ndarray,
    solid: Sequence[int],
    spacing: Sequence[float] | np.ndarray,
) -> float:
    """White noise of an image, measured in the middle of it.

    Parameters
    ----------
    values : (X, Y, Z) float32 ndarray, bias-corrected intensities of a box around the brain
    log_joint : (X, Y, Z, K) float32 ndarray, nats, on the same box
    solid : sequence of int
        Classes that are tissue, not fluid: fluid lies in gaps a few voxels wide.
    spacing : (3,) voxel size, mm

    Returns
    -------
    float, standard deviation, image units; NaN if it is not known
    """
    middle = tuple(slice(n // 4, n - n // 4) for n in values.shape)
    where = is_likeliest(solid, np.ascontiguousarray(log_joint[middle]))
    return white_noise(values[middle], where, spacing)
