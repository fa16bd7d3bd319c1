"""Strong one-sided shading, as of a surface coil, taken off before the model is fitted.

The cosine field of the model has a level end at each border and pays for a steep slope; where one
side of the brain is several times as bright as the other, a log-linear trend does most of the work.
"""

import numpy as np

from gmmseg.spatial.atlas import TissueAtlas
from gmmseg.spatial.lattice import Lattice, prior_at

TISSUES = ("GM", "WM")
LEAST = float(np.log(2.0))
"""Trends over the brain that are weaker stay with the field: ordinary shading is below 1.6."""
N_ROUNDS = 20
MIN_SAMPLES = 500


def log_trend(lattice: Lattice, atlas: TissueAtlas) -> np.ndarray:
    """Slope of the log intensity of grey and white matter along the axes of a lattice.

    A line with a level of its own for each tissue, by regression that gives little weight to
    what lies far off (Cauchy), weighted by the prior of the aligned atlas.

    Parameters
    ----------
    lattice : Lattice
    atlas : TissueAtlas

    Returns
    -------
    (3,) float64 ndarray, nats per lattice index; zero where the brain's ends differ by less than
    ``exp(LEAST)``
    """
    prior, values = prior_at(lattice, atlas), lattice.values[lattice.used]
    index = np.column_stack(np.nonzero(lattice.used)).astype(np.float64)
    known = ~lattice.outside[lattice.used] & (values > 0)
    brain = prior[:, : atlas.n_inside].sum(1) > 0.5
    rows, design, weights = [], [], []
    if not set(TISSUES) <= set(atlas.names):  # somebody's own maps, with other names
        return np.zeros(3)
    for k, name in enumerate(TISSUES):
        w = prior[:, atlas.names.index(name)].astype(np.float64) ** 2
        take = known & (w > 0.25)
        level = np.zeros((np.count_nonzero(take), len(TISSUES)))
        level[:, k] = 1.0
        design.append(np.hstack([index[take] - index[brain].mean(0), level]))
        rows.append(np.log(values[take]))
        weights.append(w[take])
    x, y, w = np.concatenate(design), np.concatenate(rows), np.concatenate(weights)
    if len(y) < MIN_SAMPLES:
        return np.zeros(3)
    found = _cauchy_line(x, y, w)
    low, high = np.quantile(index[brain] @ found[:3], [0.02, 0.98])
    return found[:3] if high - low > LEAST else np.zeros(3)


def head_trend(values: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Log-linear trend of a head before anything of it is known, for the alignment.

    Parameters
    ----------
    values : (N,) ndarray, intensities in the head
    points : (N, 3) ndarray, mm

    Returns
    -------
    (N,) float64 ndarray, nats; zero where the head's ends differ by less than ``exp(LEAST)``
    """
    floor = 0.1 * np.quantile(values, 0.98)  # bone and cavities say little of the shading
    take = np.flatnonzero(values > floor)
    take = take[:: max(1, len(take) // 20000)]
    place = points - points.mean(0)
    x = np.hstack([place[take], np.ones((len(take), 1))])
    slope = _cauchy_line(x, np.log(values[take]), np.ones(len(take)))[:3]
    trend = place @ slope
    low, high = np.quantile(trend, [0.02, 0.98])
    return trend if high - low > LEAST else np.zeros(len(values))


def _cauchy_line(x: np.ndarray, y: np.ndarray, w: np.ndarray) -> np.ndarray:
    """Coefficients (P,) of a weighted regression of ``y`` (N,) on ``x`` (N, P), little moved by
    what lies far off.
    """
    robust = np.ones(len(y))
    for _ in range(N_ROUNDS):
        weighted = x * (w * robust)[:, None]
        found = np.linalg.lstsq(weighted.T @ x, weighted.T @ y, rcond=None)[0]
        residual = y - x @ found
        scale = 1.4826 * np.median(np.abs(residual)) + 1e-12
        robust = 1 / (1 + (residual / (2 * scale)) ** 2)
    return np.asarray(found)


def strong_shading(
    lattice: Lattice, atlas: TissueAtlas, shape: tuple[int, ...]
) -> np.ndarray | None:
    """Trend of the log intensity at every voxel of the image that a lattice samples.

    Parameters
    ----------
    lattice : Lattice
    atlas : TissueAtlas
    shape : (3,) int, voxels of the image along each axis

    Returns
    -------
    (X, Y, Z) float32 ndarray, nats, zero in the middle of the lattice and held constant beyond it;
    None where there is no strong trend
    """
    slope = log_trend(lattice, atlas)
    if not slope.any():
        return None
    x, y, z = (
        g * (np.clip(np.arange(n) / s - f, 0, m - 1) - 0.5 * (m - 1))
        for g, n, s, f, m in zip(
            slope, shape, lattice.step, lattice.first, lattice.shape, strict=True
        )
    )
    field = x[:, None, None] + y[None, :, None] + z[None, None, :]
    return np.asarray(field, dtype=np.float32)
