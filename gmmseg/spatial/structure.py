"""Whether an image shows anything but noise: objects make pixels alike that lie apart."""

from __future__ import annotations

from itertools import product

import numpy as np

LAG = 8  # pixels; noise, even blurred, interpolated or stored as JPEG, is not alike so far apart
LEAST = 0.03  # correlation at that distance
_DEGREE = 4  # of the polynomial that stands for uneven light
_CELLS = 32  # along a side of the lattice it is fitted on
_PLANES = 16  # of a stack that are looked at


def has_structure(image: np.ndarray, mask: np.ndarray | None = None) -> bool:
    """Whether pixels some way apart are alike, beyond slow changes of the light.

    Parameters
    ----------
    image : (..., Y, X) ndarray of real numbers; NaN outside of the mask only
    mask : bool ndarray of the same shape, optional

    Returns
    -------
    bool
        Whether the correlation of pixels 8 apart (fewer in images below 128 pixels), in rows as
        well as in columns, is 0.03 or more (and more than chance would give), once a polynomial
        of degree 4 is taken off.

    Notes
    -----
    A histogram of two classes that overlap looks like one of skewed noise; objects and noise still
    differ in this. Objects only a few pixels wide are missed.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> noise = rng.normal(0, 1, (128, 128))
    >>> squares = np.kron(rng.random((8, 8)) < 0.3, np.ones((16, 16)))
    >>> has_structure(noise), has_structure(noise + 2 * squares)
    (False, True)
    """
    planes = image.reshape(-1, *image.shape[-2:])
    masks = None if mask is None else mask.reshape(planes.shape)
    step = max(1, len(planes) // _PLANES)
    lag = int(np.clip(min(planes.shape[1:]) // 16, 1, LAG))
    pairs = np.zeros((2, 2))  # of each direction: sum of products, number
    squares = np.zeros(2)
    for n in range(0, len(planes), step):
        there = np.ones(planes.shape[1:], bool) if masks is None else masks[n]
        if not there.any():
            continue
        rest = _without_light(np.where(there, planes[n], 0).astype(np.float32), there)
        squares += np.square(rest, dtype=np.float64).sum(), there.sum()
        for axis, (x, m) in enumerate(((rest, there), (rest.T, there.T))):
            both = m[lag:] & m[:-lag]
            products = np.multiply(x[lag:], x[:-lag], dtype=np.float64)
            pairs[axis] += products[both].sum(), both.sum()
    if not squares[0] > 0 or not pairs[:, 1].all():
        return False
    correlation = pairs[:, 0] / pairs[:, 1] / (squares[0] / squares[1])
    chance = 3.5 / np.sqrt(pairs[:, 1].min())
    return bool(correlation.min() >= max(LEAST, chance))


def _without_light(plane: np.ndarray, there: np.ndarray) -> np.ndarray:
    """What a smooth polynomial leaves of a plane, zero outside; outliers pulled in."""
    known = plane[there]
    low, high = np.quantile(known[:: max(1, known.size // 100_000)], (0.001, 0.999))
    plane = np.clip(plane, low, high)
    sides = [_legendre(n) for n in plane.shape]
    terms = [(i, j) for i, j in product(range(_DEGREE + 1), repeat=2) if i + j <= _DEGREE]
    rows, columns = (np.arange(n) * min(n, _CELLS) // n for n in plane.shape)
    cell = rows[:, None] * (columns[-1] + 1) + columns
    count = np.bincount(cell[there], minlength=cell[-1, -1] + 1)
    used = count > 0
    design = np.stack([
        np.bincount(cell[there], np.outer(sides[0][i], sides[1][j])[there], len(count))[used]
        for i, j in terms
    ], axis=1)  # fmt: skip
    means = np.bincount(cell[there], plane[there], len(count))[used] / count[used]
    weight = np.sqrt(count[used])
    scaled = design / count[used, None] * weight[:, None]
    found = np.linalg.lstsq(scaled, means * weight, rcond=1e-8)[0]
    light = sum(
        c * np.outer(sides[0][i], sides[1][j]) for c, (i, j) in zip(found, terms, strict=True)
    )
    return np.where(there, plane - light, 0).astype(np.float32)


def _legendre(n: int) -> np.ndarray:
    """(degree + 1, n) Legendre polynomials on the pixels of an axis."""
    x = np.linspace(-1, 1, n) if n > 1 else np.zeros(1)
    return np.polynomial.legendre.legvander(x, _DEGREE).T
