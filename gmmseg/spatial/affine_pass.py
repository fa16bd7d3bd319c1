"""Compiled passes over the samples of an affine alignment.

Each runs over a fixed number of blocks whose sums are added in order, so that the result is the
same to the last bit for any number of threads.
"""

import numpy as np
from numba import njit, prange

from gmmseg.spatial.sampling import corner

N_BLOCKS = 16  # fixed: see above


@njit(cache=True)
def _in_order(values: np.ndarray) -> float:
    """Sum from first to last; in a parallel function ``values.sum()`` would be split by threads."""
    total = 0.0
    for value in values:
        total += value
    return total


@njit(cache=True, parallel=True, nogil=True)
def evidence_under(
    maps: np.ndarray,
    to_voxel: np.ndarray,
    points: np.ndarray,
    density: np.ndarray,
    bins: np.ndarray,
    prior: np.ndarray,
) -> float:
    """Log evidence of the samples under an affine map.

    Parameters
    ----------
    maps : (X, Y, Z, K) float32 ndarray, class probabilities; held to the border
    to_voxel : (3, 4) float64 ndarray, sample coordinates to atlas voxel
    points : (N, 3) float64 ndarray
    density : (B, K) float64 ndarray, density of each intensity bin under each class
    bins : (N,) int64 ndarray, in 0..B-1
    prior : (N, K) float32 ndarray, written: class probabilities at each sample

    Returns
    -------
    float, sum over samples of ``log sum_k prior[n, k] density[bins[n], k]``, nats
    """
    nx, ny, nz, n_classes = maps.shape
    count = points.shape[0]
    totals = np.zeros(N_BLOCKS)
    for block in prange(N_BLOCKS):
        total = 0.0
        for n in range(block * count // N_BLOCKS, (block + 1) * count // N_BLOCKS):
            x, y, z = points[n, 0], points[n, 1], points[n, 2]
            i, fx = corner(
                to_voxel[0, 0] * x + to_voxel[0, 1] * y + to_voxel[0, 2] * z + to_voxel[0, 3], nx
            )
            j, fy = corner(
                to_voxel[1, 0] * x + to_voxel[1, 1] * y + to_voxel[1, 2] * z + to_voxel[1, 3], ny
            )
            k, fz = corner(
                to_voxel[2, 0] * x + to_voxel[2, 1] * y + to_voxel[2, 2] * z + to_voxel[2, 3], nz
            )
            for c in range(n_classes):
                prior[n, c] = 0.0
            for di in range(2):
                wx = fx if di else 1.0 - fx
                for dj in range(2):
                    wxy = wx * (fy if dj else 1.0 - fy)
                    for dk in range(2):
                        w = np.float32(wxy * (fz if dk else 1.0 - fz))
                        for c in range(n_classes):
                            prior[n, c] += w * maps[i + di, j + dj, k + dk, c]
            value = 0.0
            for c in range(n_classes):
                value += prior[n, c] * density[bins[n], c]
            total += np.log(value)
        totals[block] = total
    return _in_order(totals)


@njit(cache=True, parallel=True, nogil=True)
def score_under(
    maps: np.ndarray,
    to_voxel: np.ndarray,
    points: np.ndarray,
    density: np.ndarray,
    bins: np.ndarray,
) -> tuple[float, np.ndarray, np.ndarray]:
    """Log evidence under an affine map with its derivatives by the map.

    Parameters
    ----------
    maps, to_voxel, points, density, bins : as for :func:`evidence_under`

    Returns
    -------
    total : float, nats
    gradient : (3, 4) float64 ndarray, of ``total`` by ``to_voxel``
    hessian : (3, 4, 3, 4) float64 ndarray, sum of outer products of the samples' gradients
    """
    nx, ny, nz, n_classes = maps.shape
    count = points.shape[0]
    totals = np.zeros(N_BLOCKS)
    slopes = np.zeros((N_BLOCKS, 3, 4))
    squares = np.zeros((N_BLOCKS, 3, 3, 4, 4))
    for block in prange(N_BLOCKS):
        local, score = np.ones(4), np.empty(3)
        for n in range(block * count // N_BLOCKS, (block + 1) * count // N_BLOCKS):
            x, y, z = points[n, 0], points[n, 1], points[n, 2]
            i, fx = corner(
                to_voxel[0, 0] * x + to_voxel[0, 1] * y + to_voxel[0, 2] * z + to_voxel[0, 3], nx
            )
            j, fy = corner(
                to_voxel[1, 0] * x + to_voxel[1, 1] * y + to_voxel[1, 2] * z + to_voxel[1, 3], ny
            )
            k, fz = corner(
                to_voxel[2, 0] * x + to_voxel[2, 1] * y + to_voxel[2, 2] * z + to_voxel[2, 3], nz
            )
            value, gx, gy, gz = 0.0, 0.0, 0.0, 0.0
            for di in range(2):
                wx, sx = (fx, 1.0) if di else (1.0 - fx, -1.0)
                for dj in range(2):
                    wy, sy = (fy, 1.0) if dj else (1.0 - fy, -1.0)
                    for dk in range(2):
                        wz, sz = (fz, 1.0) if dk else (1.0 - fz, -1.0)
                        here = 0.0
                        for c in range(n_classes):
                            here += maps[i + di, j + dj, k + dk, c] * density[bins[n], c]
                        value += wx * wy * wz * here
                        gx += sx * wy * wz * here
                        gy += wx * sy * wz * here
                        gz += wx * wy * sz * here
            totals[block] += np.log(value)
            local[0], local[1], local[2] = x, y, z
            score[0], score[1], score[2] = gx / value, gy / value, gz / value
            for a in range(3):
                for p in range(4):
                    slopes[block, a, p] += score[a] * local[p]
                for b in range(a + 1):
                    product = score[a] * score[b]
                    for p in range(4):
                        weight = product * local[p]
                        for q in range(p + 1):
                            squares[block, a, b, p, q] += weight * local[q]
    gradient, hessian = np.zeros((3, 4)), np.zeros((3, 4, 3, 4))
    for block in range(N_BLOCKS):
        for a in range(3):
            for p in range(4):
                gradient[a, p] += slopes[block, a, p]
            for b in range(3):
                for p in range(4):
                    for q in range(4):
                        hessian[a, p, b, q] += squares[
                            block, max(a, b), min(a, b), max(p, q), min(p, q)
                        ]
    return _in_order(totals), gradient, hessian


@njit(cache=True, parallel=True, nogil=True)
def class_counts(prior: np.ndarray, bins: np.ndarray, density: np.ndarray) -> np.ndarray:
    """Responsibility of each class for each bin, (B, K) float64: the E-step of the histograms.

    Parameters
    ----------
    prior : (N, K) float32 ndarray
    bins : (N,) int64 ndarray, in 0..B-1
    density : (B, K) float64 ndarray
    """
    count, n_classes = prior.shape
    n_bins = density.shape[0]
    partial = np.zeros((N_BLOCKS, n_bins, n_classes))
    for block in prange(N_BLOCKS):
        for n in range(block * count // N_BLOCKS, (block + 1) * count // N_BLOCKS):
            evidence = 0.0
            for c in range(n_classes):
                evidence += prior[n, c] * density[bins[n], c]
            for c in range(n_classes):
                partial[block, bins[n], c] += prior[n, c] * density[bins[n], c] / evidence
    counts = np.zeros((n_bins, n_classes))
    for block in range(N_BLOCKS):
        for row in range(n_bins):
            for c in range(n_classes):
                counts[row, c] += partial[block, row, c]
    return counts
