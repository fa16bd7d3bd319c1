r"""How strongly neighbours should pull: as strongly as noise mixes up the tissues.

A Potts field undoes errors that noise makes in one voxel and not in the next, and blunts what is
one voxel thin. Where neighbours share the noise (interpolated or averaged scans), or it is too
weak to turn one tissue into another, it can only blunt. So the white part of the noise is
measured, and the share of voxels that it alone would mislabel sets the strength.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

LEAST, MOST = 0.3, 0.8  # nats per neighbour
GAIN = 4.0  # nats per neighbour for a share of one of voxels mislabelled
MIN_SITES = 500


def automatic_strength(noise: float, means: Sequence[float] | np.ndarray) -> float:
    """Potts coupling for tissues of these means under white noise.

    Parameters
    ----------
    noise : float
        Standard deviation of the white noise, image units; NaN if it is not known.
    means : sequence of float
        Mean of each tissue, image units.

    Returns
    -------
    float, nats per neighbour: :data:`LEAST` and, up to :data:`MOST`, :data:`GAIN` times the share
    of :func:`mislabelled` voxels

    Examples
    --------
    >>> [round(automatic_strength(noise, (30, 70, 110)), 2) for noise in (0, 10, 15, 30)]
    [0.3, 0.39, 0.66, 0.8]
    """
    return min(MOST, LEAST + GAIN * mislabelled(noise, means))


def mislabelled(noise: float, means: Sequence[float] | np.ndarray) -> float:
    r"""Share of voxels that white noise alone takes for another tissue.

    Parameters
    ----------
    noise, means
        As for :func:`automatic_strength`.

    Returns
    -------
    float, :math:`\Phi(-\Delta / 2 \sigma)` of the two tissues whose means lie closest, by
    :math:`\Delta`; 0 where the noise is not known or there is one tissue only

    Examples
    --------
    >>> [round(mislabelled(noise, (30, 70, 110)), 3) for noise in (0, 10, 15, 30)]
    [0.0, 0.023, 0.091, 0.252]
    """
    known = np.sort([m for m in means if np.isfinite(m)])
    if len(known) < 2 or not noise > 0:
        return 0.0
    return 0.5 * math.erfc(float(np.diff(known).min()) / (noise * math.sqrt(8)))


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


def strength_of(
    values: np.ndarray,
    log_joint: np.ndarray,
    solid: Sequence[int],
    spacing: Sequence[float] | np.ndarray,
    means: Sequence[float] | np.ndarray,
) -> tuple[float, float]:
    """Coupling for an image, from the noise in the middle of it.

    Parameters
    ----------
    values : (X, Y, Z) float32 ndarray, bias-corrected intensities of a box around the brain
    log_joint : (X, Y, Z, K) float32 ndarray, nats, on the same box
    solid : sequence of int
        Classes that are tissue, not fluid: fluid lies in gaps a few voxels wide.
    spacing : (3,) voxel size, mm
    means : sequence of float, of the tissues, image units

    Returns
    -------
    strength : float, nats per neighbour
    noise : float, standard deviation of the white noise, image units; NaN if it is not known
    """
    middle = tuple(slice(n // 4, n - n // 4) for n in values.shape)
    where = np.isin(log_joint[middle].argmax(axis=-1), solid)
    noise = white_noise(values[middle], where, spacing)
    return automatic_strength(noise, means), noise
