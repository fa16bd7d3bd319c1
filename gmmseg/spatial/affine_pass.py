"""Compiled passes over the samples of an affine alignment.

Each runs over a fixed number of blocks whose sums are added in order, so that the result is the
same to the last bit for any number of threads.
"""

import numpy as np
from numba import njit

from gmmseg.spatial.logsum import multiplied
from gmmseg.spatial.sampling import between, corner, corner_evidence, read_maps
from gmmseg.threads import N_BLOCKS, spread_blocks


@njit(cache=True, inline="always")
def _at(to_voxel: np.ndarray, axis: int, x: float, y: float, z: float) -> float:
    """Atlas voxel coordinate of a sample along one axis."""
    t = to_voxel
    return t[axis, 0] * x + t[axis, 1] * y + t[axis, 2] * z + t[axis, 3]


@njit(cache=True, nogil=True)
def _evidence(
    block: int,
    first: int,
    stop: int,
    maps: np.ndarray,
    to_voxel: np.ndarray,
    points: np.ndarray,
    density: np.ndarray,
    bins: np.ndarray,
    prior: np.ndarray,
    totals: np.ndarray,
) -> None:
    total, product = 0.0, 1.0
    for n in range(first, stop):
        x, y, z = points[n, 0], points[n, 1], points[n, 2]
        i, j, k = _at(to_voxel, 0, x, y, z), _at(to_voxel, 1, x, y, z), _at(to_voxel, 2, x, y, z)
        read_maps(maps, i, j, k, prior[n])
        row, value = bins[n], 0.0
        for c in range(prior.shape[1]):
            value += prior[n, c] * density[row, c]
        total, product = multiplied(total, product, value)
    totals[block] = total + np.log(product)


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
    totals = np.empty(N_BLOCKS)
    spread_blocks(_evidence, len(points), maps, to_voxel, points, density, bins, prior, totals)
    return float(totals.sum())


@njit(cache=True, nogil=True)
def _score(
    block: int,
    first: int,
    stop: int,
    maps: np.ndarray,
    to_voxel: np.ndarray,
    points: np.ndarray,
    density: np.ndarray,
    bins: np.ndarray,
    totals: np.ndarray,
    slopes: np.ndarray,
    squares: np.ndarray,
) -> None:
    nx, ny, nz, _ = maps.shape
    slope, square = slopes[block], squares[block]
    local, score = np.ones(4), np.empty(3)
    total, product = 0.0, 1.0
    for n in range(first, stop):
        x, y, z = points[n, 0], points[n, 1], points[n, 2]
        i, fx = corner(_at(to_voxel, 0, x, y, z), nx)
        j, fy = corner(_at(to_voxel, 1, x, y, z), ny)
        k, fz = corner(_at(to_voxel, 2, x, y, z), nz)
        a, b, c, d, e, f, g, h = corner_evidence(maps, i, j, k, density, bins[n])
        low, high = between(a, b, c, d, fy, fz), between(e, f, g, h, fy, fz)
        value, gx = (1.0 - fx) * low + fx * high, high - low
        gy = between(c - a, d - b, g - e, h - f, fx, fz)
        gz = between(b - a, d - c, f - e, h - g, fx, fy)
        total, product = multiplied(total, product, value)
        local[0], local[1], local[2] = x, y, z
        score[0], score[1], score[2] = gx / value, gy / value, gz / value
        for a in range(3):
            for p in range(4):
                slope[a, p] += score[a] * local[p]
            for b in range(a + 1):
                pair = score[a] * score[b]
                for p in range(4):
                    weight = pair * local[p]
                    for q in range(p + 1):
                        square[a, b, p, q] += weight * local[q]
    totals[block] = total + np.log(product)


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
    totals = np.empty(N_BLOCKS)
    slopes, squares = np.zeros((N_BLOCKS, 3, 4)), np.zeros((N_BLOCKS, 3, 3, 4, 4))
    spread_blocks(
        _score, len(points), maps, to_voxel, points, density, bins, totals, slopes, squares
    )
    # Only one of each pair of equal products was summed.
    a, p, b, q = np.ogrid[:3, :4, :3, :4]
    lower = (np.maximum(a, b), np.minimum(a, b), np.maximum(p, q), np.minimum(p, q))
    return float(totals.sum()), slopes.sum(axis=0), squares.sum(axis=0)[lower]


@njit(cache=True, nogil=True)
def learn_histograms(
    prior: np.ndarray, bins: np.ndarray, histograms: np.ndarray, n_steps: int, pseudo: float
) -> np.ndarray:
    """Histograms after EM steps under a flat Dirichlet prior, (K, B) float64.

    On one thread: samples of an alignment are done before a second one has woken up.

    Parameters
    ----------
    prior : (N, K) float32 ndarray, class probabilities at each sample
    bins : (N,) int64 ndarray, in 0..B-1
    histograms : (K, B) float64 ndarray, where EM starts; positive
    n_steps : int
    pseudo : float, samples that the Dirichlet prior adds to each bin of each class
    """
    n_classes, n_bins = histograms.shape
    density = np.ascontiguousarray(histograms.T)
    counts, joint, total = np.empty((n_bins, n_classes)), np.empty(n_classes), np.empty(n_classes)
    for _ in range(n_steps):
        counts[:] = pseudo
        for n in range(len(bins)):
            b, evidence = bins[n], 0.0
            for c in range(n_classes):
                joint[c] = prior[n, c] * density[b, c]
                evidence += joint[c]
            scale = 1.0 / evidence
            for c in range(n_classes):
                counts[b, c] += joint[c] * scale
        total[:] = 0.0
        for b in range(n_bins):
            for c in range(n_classes):
                total[c] += counts[b, c]
        for b in range(n_bins):
            for c in range(n_classes):
                density[b, c] = counts[b, c] / total[c]
    return np.ascontiguousarray(density.T)
