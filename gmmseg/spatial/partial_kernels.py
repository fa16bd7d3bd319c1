"""Compiled sweep of the model of mixed voxels in :mod:`gmmseg.spatial.partial`."""

from math import factorial

import numpy as np
from numba import njit

MIN_LOG_PRIOR = np.float32(-4.0)
"""Nats: less than this of log a, the prior of a tissue, counts as this much. The atlas then forbids
nothing: where it has none of a tissue log a is -50, or whatever a map's last bits say, and the
voxel's own intensity could not speak against it. Four nats, a prior of 2 %, are what a voxel at
that tissue's mean makes up for by lying sqrt(8) = 2.8 standard deviations from another's. It is
part of the model, the same in every sweep, so that the objective still rises."""
LEAST = np.float32(-25.0)  # powers of two: float32 rounds them away beside one
LN2, INV_LN2 = np.float32(np.log(2)), np.float32(1 / np.log(2))
TAYLOR = np.array([1 / factorial(n) for n in range(7)], np.float32)
"""Of the exponential function: 1e-7 off at half of ln 2."""
IN_ANY_ORDER = {"reassoc", "contract", "nnan", "nsz"}
"""What lets the compiler add up several levels at once; no NaN gets as far as these functions."""


@njit(cache=True, nogil=True, fastmath=IN_ANY_ORDER)
def _exponentials(
    p: np.ndarray, bits: np.ndarray, levels: np.ndarray
) -> tuple[np.float32, np.float32, np.float32, np.float32, np.float32]:
    """Replace ``p`` (L,) float32 by exp(p - max p); the largest, the sum, the three sums by tissue.

    A call of the exponential function would keep the processor from doing several levels at once,
    and so would ``p.max()``, which looks out for NaN. ``bits`` (L,) int32 is room to work in,
    ``levels`` (3, L) float32 the fractions.
    """
    top = p[0]
    for m in range(len(p)):
        top = max(top, p[m])
    c1, c2, c3, c4, c5, c6 = TAYLOR[1], TAYLOR[2], TAYLOR[3], TAYLOR[4], TAYLOR[5], TAYLOR[6]
    for m in range(len(p)):
        twos = max((p[m] - top) * INV_LN2, LEAST)
        whole = np.floor(twos + np.float32(0.5))
        x = (twos - whole) * LN2  # .35 at most, either way
        e = c6 * x + c5
        e = e * x + c4
        e = e * x + c3
        e = e * x + c2
        e = e * x + c1
        p[m] = e * x + c1
        bits[m] = (np.int32(whole) + np.int32(127)) << np.int32(23)  # the float 2 ** whole
    powers = bits.view(np.float32)
    total, g0, g1, g2 = np.float32(0.0), np.float32(0.0), np.float32(0.0), np.float32(0.0)
    for m in range(len(p)):
        e = p[m] * powers[m]
        p[m] = e
        total += e
        g0 += e * levels[0, m]
        g1 += e * levels[1, m]
        g2 += e * levels[2, m]
    return top, total, g0, g1, g2


@njit(cache=True, nogil=True, fastmath=IN_ANY_ORDER)
def _gathered(
    p: np.ndarray, scale: np.float32, rest: np.ndarray, counts: np.ndarray, sums: np.ndarray
) -> np.float32:
    """Add the shares of levels to ``counts``, times ``rest`` to ``sums``; the mean square."""
    square = np.float32(0.0)
    for m in range(len(p)):
        share = p[m] * scale
        counts[m] += share
        sums[m] += share * rest[m]
        square += share * rest[m] * rest[m]
    return square


@njit(cache=True, nogil=True)
def sweep_colour(
    first: int,
    stop: int,
    values: np.ndarray,
    brain: np.ndarray,
    log_prior: np.ndarray,
    away: np.ndarray,
    per_unit: np.float32,
    levels: np.ndarray,
    log_weight: np.ndarray,
    centres: np.ndarray,
    precision: np.float32,
    coupling: np.ndarray,
    colour: int,
    mean: np.ndarray,
    counts: np.ndarray,
    sums: np.ndarray,
    squares: np.ndarray,
    bound: np.ndarray,
) -> None:
    """Update the fractions of one colour of the checkerboard, in planes ``first`` to ``stop``.

    Parameters
    ----------
    values : (X, Y, Z) float32 ndarray, intensities in units of the tissues' spread; NaN if missing
    brain : (X, Y, Z) bool ndarray
    log_prior : (X, Y, Z, 3) float32 ndarray, nats
    away : (X, Y, Z, 3) float32 ndarray, image units, or of another shape where there is none
    per_unit : float32, one over the tissues' spread in image units
    levels : (3, L) float32 ndarray, fractions of GM, WM and CSF in each level
    log_weight : (L,) float32 ndarray, nats
    centres : (L,) float32 ndarray, mean of each level, in the units of ``values``
    precision : float32, one over the variance of the noise
    coupling : (3,) float32 ndarray, nats, along each axis
    colour : int, 0 or 1
    mean : (X, Y, Z, 3) float32 ndarray, expected fractions; written
    counts, sums : (X, L) float64 ndarrays, of each plane: posterior of each level, and that times
        what ``away`` leaves of the intensity; added to
    squares, bound : (X,) float64 ndarrays, of each plane: mean square of what is left, and terms of
        the lower bound, nats; added to
    """
    nx, ny, nz = values.shape
    n_levels = levels.shape[1]
    size = np.empty(n_levels, np.float32)
    for m in range(n_levels):
        size[m] = np.float32(0.5) * (levels[0, m] ** 2 + levels[1, m] ** 2 + levels[2, m] ** 2)
    zero, half = np.float32(0.0), np.float32(0.5)
    p, rest = np.empty(n_levels, np.float32), np.empty(n_levels, np.float32)
    bits = np.empty(n_levels, np.int32)
    moved = away.shape == brain.shape + (3,)
    d0, d1, d2 = zero, zero, zero
    for i in range(first, stop):
        n_plane, s_plane, q_plane, b_plane = np.zeros(n_levels), np.zeros(n_levels), 0.0, 0.0
        for j in range(ny):
            for k in range((i + j + colour) % 2, nz, 2):
                if not brain[i, j, k]:
                    continue
                f0, f1, f2, total = zero, zero, zero, zero
                for side in range(6):
                    axis, way = side // 2, 2 * (side % 2) - 1
                    a = np.int64(i) + (way if axis == 0 else 0)
                    b = j + (way if axis == 1 else 0)
                    c = k + (way if axis == 2 else 0)
                    if a < 0 or b < 0 or c < 0 or a >= nx or b >= ny or c >= nz:
                        continue
                    if brain[a, b, c]:
                        w = coupling[axis]
                        f0 += w * mean[a, b, c, 0]
                        f1 += w * mean[a, b, c, 1]
                        f2 += w * mean[a, b, c, 2]
                        total += w
                h0 = f0 + max(log_prior[i, j, k, 0], MIN_LOG_PRIOR)
                h1 = f1 + max(log_prior[i, j, k, 1], MIN_LOG_PRIOR)
                h2 = f2 + max(log_prior[i, j, k, 2], MIN_LOG_PRIOR)
                y = values[i, j, k]
                known = not np.isnan(y)
                if moved:
                    d0, d1 = per_unit * away[i, j, k, 0], per_unit * away[i, j, k, 1]
                    d2 = per_unit * away[i, j, k, 2]
                for m in range(n_levels):
                    rest[m] = y - d0 * levels[0, m] - d1 * levels[1, m] - d2 * levels[2, m]
                    t = h0 * levels[0, m] + h1 * levels[1, m] + h2 * levels[2, m]
                    p[m] = t + log_weight[m] - total * size[m]
                if known:
                    for m in range(n_levels):
                        p[m] -= half * precision * (rest[m] - centres[m]) ** 2
                top, whole, g0, g1, g2 = _exponentials(p, bits, levels)
                scale = np.float32(1.0) / whole
                g0, g1, g2 = g0 * scale, g1 * scale, g2 * scale
                mean[i, j, k, 0], mean[i, j, k, 1], mean[i, j, k, 2] = g0, g1, g2
                if known:
                    q_plane += float(_gathered(p, scale, rest, n_plane, s_plane))
                b_plane += top + np.log(whole)
                if colour == 0:  # each pair counts once, when its second voxel is updated
                    b_plane -= f0 * g0 + f1 * g1 + f2 * g2
        bound[i] += b_plane
        squares[i] += q_plane
        for m in range(n_levels):
            counts[i, m] += n_plane[m]
            sums[i, m] += s_plane[m]
