"""Class maps of the atlas between their voxels: priors at any point, and which way they rise."""

from __future__ import annotations

import numpy as np
from numba import njit

from gmmseg.threads import spread

REACH = 0.25
"""How far to either side the slope is taken, voxels of the atlas. Linear interpolation has a kink
at every voxel, and a step along the slope at one point runs past the next kink."""


@njit(cache=True, inline="always")
def corner(x: float, n: int) -> tuple[int, float]:
    """Lower corner and fraction of a linear interpolation, held to the border.

    ``x`` is a voxel coordinate along an axis of ``n`` voxels; the value sought is ``1 - fraction``
    of the voxel returned and ``fraction`` of the next.
    """
    if not x > 0.0:  # NaN, too, must not lead out of the array
        return 0, 0.0
    if x >= n - 1.0:
        return n - 2, 1.0
    i = int(x)
    return i, x - i


@njit(cache=True, nogil=True)
def displaced_row(displacement: np.ndarray, x: float, y: float, row: np.ndarray) -> None:
    """Displacements along one row of a lattice, for :func:`moved_point`.

    ``displacement`` (n_0, n_1, n_2, 3), in voxels of a map, is interpolated linearly at the lattice
    indices ``x`` and ``y`` and held constant beyond its border; ``row`` (n_2, 3) is written.
    """
    a, fa = corner(x, displacement.shape[0])
    b, fb = corner(y, displacement.shape[1])
    w00, w01, w10, w11 = (1 - fa) * (1 - fb), (1 - fa) * fb, fa * (1 - fb), fa * fb
    for c in range(len(row)):
        for axis in range(3):
            row[c, axis] = (
                w00 * displacement[a, b, c, axis]
                + w01 * displacement[a, b + 1, c, axis]
                + w10 * displacement[a + 1, b, c, axis]
                + w11 * displacement[a + 1, b + 1, c, axis]
            )


@njit(cache=True, nogil=True)
def moved_point(
    to_map: np.ndarray, row: np.ndarray, x: float, y: float, z: float
) -> tuple[float, float, float]:
    """Where a place of the lattice comes to lie in a map.

    ``to_map`` (4, 4) leads there from lattice indices, ``row`` is the :func:`displaced_row` at
    ``x`` and ``y``.
    """
    c, f = corner(z, len(row))
    px = to_map[0, 0] * x + to_map[0, 1] * y + to_map[0, 2] * z + to_map[0, 3]
    py = to_map[1, 0] * x + to_map[1, 1] * y + to_map[1, 2] * z + to_map[1, 3]
    pz = to_map[2, 0] * x + to_map[2, 1] * y + to_map[2, 2] * z + to_map[2, 3]
    return (
        px + (1 - f) * row[c, 0] + f * row[c + 1, 0],
        py + (1 - f) * row[c, 1] + f * row[c + 1, 1],
        pz + (1 - f) * row[c, 2] + f * row[c + 1, 2],
    )


@njit(cache=True, nogil=True)
def read_maps(maps: np.ndarray, x: float, y: float, z: float, values: np.ndarray) -> None:
    """Interpolate maps (X, Y, Z, K) linearly at a point, in their voxels, held to the border.

    ``values`` (K,) is written.
    """
    i, fx = corner(x, maps.shape[0])
    j, fy = corner(y, maps.shape[1])
    k, fz = corner(z, maps.shape[2])
    z0, z1 = np.float32(1.0 - fz), np.float32(fz)
    w00, w01 = np.float32((1.0 - fx) * (1.0 - fy)), np.float32((1.0 - fx) * fy)
    w10, w11 = np.float32(fx * (1.0 - fy)), np.float32(fx * fy)
    for c in range(len(values)):
        values[c] = (
            w00 * (z0 * maps[i, j, k, c] + z1 * maps[i, j, k + 1, c])
            + w01 * (z0 * maps[i, j + 1, k, c] + z1 * maps[i, j + 1, k + 1, c])
            + w10 * (z0 * maps[i + 1, j, k, c] + z1 * maps[i + 1, j, k + 1, c])
            + w11 * (z0 * maps[i + 1, j + 1, k, c] + z1 * maps[i + 1, j + 1, k + 1, c])
        )


def sample_prior(maps: np.ndarray, points: np.ndarray, prior: np.ndarray) -> None:
    """Interpolate the class probabilities at points of the atlas.

    Parameters
    ----------
    maps : (X, Y, Z, K) float32 ndarray
    points : (N, 3) ndarray, atlas voxel coordinates; held to the border
    prior : (N, K) float32 ndarray, written
    """
    spread(_interpolate, len(points), maps, points, prior)


@njit(cache=True, nogil=True)
def _interpolate(
    first: int, stop: int, maps: np.ndarray, points: np.ndarray, prior: np.ndarray
) -> None:
    for n in range(first, stop):
        read_maps(maps, points[n, 0], points[n, 1], points[n, 2], prior[n])


@njit(cache=True, inline="always")
def _mixed(maps: np.ndarray, i: int, j: int, k: int, density: np.ndarray, row: int) -> float:
    """Evidence of one row of densities at a voxel of the atlas."""
    total = 0.0
    for c in range(maps.shape[3]):
        total += maps[i, j, k, c] * density[row, c]
    return total


@njit(cache=True, inline="always")
def corner_evidence(
    maps: np.ndarray, i: int, j: int, k: int, density: np.ndarray, row: int
) -> tuple[float, float, float, float, float, float, float, float]:
    """Evidence ``sum_m maps_m density_m`` at the eight corners of a cell, the last axis first.

    ``maps`` (X, Y, Z, K) are class probabilities, ``i``, ``j``, ``k`` the lower corner of the cell
    in them; of ``density`` (B, K), per image unit, the given row counts. All corners at a time: no
    sum waits for the one before.
    """
    a, b, c, d, e, f, g, h = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
    for m in range(maps.shape[3]):
        p = density[row, m]
        a += maps[i, j, k, m] * p
        b += maps[i, j, k + 1, m] * p
        c += maps[i, j + 1, k, m] * p
        d += maps[i, j + 1, k + 1, m] * p
        e += maps[i + 1, j, k, m] * p
        f += maps[i + 1, j, k + 1, m] * p
        g += maps[i + 1, j + 1, k, m] * p
        h += maps[i + 1, j + 1, k + 1, m] * p
    return a, b, c, d, e, f, g, h


@njit(cache=True, inline="always")
def between(a: float, b: float, c: float, d: float, u: float, v: float) -> float:
    """Bilinear interpolation; ``u`` leads from a and b to c and d, ``v`` from a to b."""
    return (1.0 - u) * ((1.0 - v) * a + v * b) + u * ((1.0 - v) * c + v * d)


@njit(cache=True, nogil=True)
def _face(
    maps: np.ndarray,
    i: int,
    j: int,
    k: int,
    axis: int,
    fx: float,
    fy: float,
    fz: float,
    density: np.ndarray,
    row: int,
) -> float:
    """Evidence on the lower face across ``axis`` of the cell at a voxel of the atlas."""
    du, dw = (0, 1) if axis == 0 else (1, 0)  # one side of the face is along x, or else along y
    dv, dt = (0, 1) if axis == 2 else (1, 0)  # the other is along z, or else along y
    return between(
        _mixed(maps, i, j, k, density, row),
        _mixed(maps, i, j + dt, k + dv, density, row),
        _mixed(maps, i + du, j + dw, k, density, row),
        _mixed(maps, i + du, j + dw + dt, k + dv, density, row),
        fx if du else fy,
        fz if dv else fy,
    )


@njit(cache=True, inline="always")
def _beyond(i: int, f: float, n: int) -> int:
    """Voxel of the neighbouring cell that is within reach; -1 where none is."""
    if f + REACH > 1.0:
        return min(i + 2, n - 1)
    return max(i - 1, 0) if f < REACH else -1


@njit(cache=True, inline="always")
def _log_slope(low: float, high: float, beyond: float, f: float) -> float:
    """Mean slope of a log by its first term, from values at the ends of a cell and beyond it."""
    up, down = f + REACH, f - REACH
    top = low + up * (high - low) if up <= 1.0 else high + (up - 1.0) * (beyond - high)
    bottom = low + down * (high - low) if down >= 0.0 else low - down * (beyond - low)
    return (top - bottom) / (REACH * (top + bottom))


def score_at(
    maps: np.ndarray, points: np.ndarray, rows: np.ndarray, density: np.ndarray, score: np.ndarray
) -> None:
    """Slope of the log evidence with respect to the point, over ``REACH`` to either side.

    Parameters
    ----------
    maps : (X, Y, Z, K) float32 ndarray
    points : (N, 3) ndarray, atlas voxel coordinates; held to the border
    rows : (N,) int ndarray, which row of ``density`` each sample has
    density : (B, K) float64 ndarray, density under each class
    score : (N, 3) float64 ndarray, written: with ``e`` the evidence ``sum_k maps_k density_k`` at
        ``REACH`` further along the axis and ``f`` at as much less, ``2 (e - f) / (e + f)`` per
        ``2 REACH`` voxels, the first term of ``log(e / f)``
    """
    spread(_score, len(points), maps, points, rows, density, score)


@njit(cache=True, nogil=True)
def _score(
    first: int,
    stop: int,
    maps: np.ndarray,
    points: np.ndarray,
    rows: np.ndarray,
    density: np.ndarray,
    score: np.ndarray,
) -> None:
    nx, ny, nz, _ = maps.shape
    low, high = np.empty(3), np.empty(3)  # evidence on the two faces of the cell across each axis
    for n in range(first, stop):
        row = rows[n]
        i, fx = corner(points[n, 0], nx)
        j, fy = corner(points[n, 1], ny)
        k, fz = corner(points[n, 2], nz)
        a, b, c, d, e, f, g, h = corner_evidence(maps, i, j, k, density, row)
        low[0], high[0] = between(a, b, c, d, fy, fz), between(e, f, g, h, fy, fz)
        low[1], high[1] = between(a, b, e, f, fx, fz), between(c, d, g, h, fx, fz)
        low[2], high[2] = between(a, c, e, g, fx, fy), between(b, d, f, h, fx, fy)
        for axis in range(3):
            here, fraction = (i, j, k)[axis], (fx, fy, fz)[axis]
            at, beyond = _beyond(here, fraction, maps.shape[axis]), 0.0
            if at >= 0:
                x, y, z = at if axis == 0 else i, at if axis == 1 else j, at if axis == 2 else k
                beyond = _face(maps, x, y, z, axis, fx, fy, fz, density, row)
            score[n, axis] = _log_slope(low[axis], high[axis], beyond, fraction)
