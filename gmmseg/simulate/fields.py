"""Smooth random fields and scanner noise."""

import numpy as np
from numpy.typing import ArrayLike, NDArray


def smooth_field(
    shape: tuple[int, ...],
    spacing: ArrayLike,
    fwhm: float,
    rng: np.random.Generator,
) -> NDArray[np.float32]:
    """Random field of zero mean and about unit variance: cubic B-splines on a coarse grid.

    Parameters
    ----------
    shape : tuple of 3 ints
    spacing : (3,) array_like
        Voxel edges in mm.
    fwhm : float
        Distance over which the field varies, in mm; the spline knots lie half as far apart.
    rng : numpy.random.Generator

    Returns
    -------
    values : (X, Y, Z) float32 ndarray

    Examples
    --------
    >>> values = smooth_field((8, 9, 10), (2, 2, 2), 20.0, np.random.default_rng(0))
    >>> values.shape, values.dtype
    ((8, 9, 10), dtype('float32'))
    """
    bases = [
        _spline_basis(n, 2.0 * edge / fwhm)
        for n, edge in zip(shape, np.asarray(spacing), strict=True)
    ]
    knots = rng.standard_normal([basis.shape[1] for basis in bases], dtype=np.float32)
    values = np.einsum("ia,abc->ibc", bases[0], knots)
    values = np.einsum("jb,ibc->ijc", bases[1], values)
    values = np.einsum("kc,ijc->ijk", bases[2], values, optimize=True)
    return np.ascontiguousarray(values, dtype=np.float32)


def add_rician_noise(
    image: NDArray[np.floating], sigma: float, rng: np.random.Generator
) -> NDArray[np.float32]:
    """Magnitude of ``image`` plus complex Gaussian noise of standard deviation ``sigma``.

    Examples
    --------
    >>> add_rician_noise(np.array([3.0, 4.0]), 0.0, np.random.default_rng(0))
    array([3., 4.], dtype=float32)
    """
    real = image + sigma * rng.standard_normal(image.shape, dtype=np.float32)
    imaginary = sigma * rng.standard_normal(image.shape, dtype=np.float32)
    return np.hypot(real, imaginary).astype(np.float32)


def bias_field(
    mask: NDArray[np.bool_],
    spacing: ArrayLike,
    fwhm: float,
    percent: float,
    rng: np.random.Generator,
) -> NDArray[np.float32]:
    """Smooth factor on the intensity whose range over ``mask`` is ``percent``.

    Parameters
    ----------
    mask : (X, Y, Z) bool ndarray
    spacing : (3,) array_like
        Voxel edges in mm.
    fwhm : float
        Smoothness in mm, as in :func:`smooth_field`.
    percent : float
        20 stands for a field whose largest and smallest value over the mask have the
        ratio 1.1 / 0.9.
    rng : numpy.random.Generator

    Returns
    -------
    bias : (X, Y, Z) float32 ndarray, of geometric mean 1 over the mask
    """
    log_bias = smooth_field(mask.shape, spacing, fwhm, rng).astype(np.float64)
    log_bias -= log_bias[mask].mean()
    extent = np.ptp(log_bias[mask])
    half = percent / 200
    log_bias *= (np.log1p(half) - np.log1p(-half)) / extent if extent > 0 else 0.0
    return np.exp(log_bias).astype(np.float32)


def _spline_basis(n: int, step: float) -> NDArray[np.float32]:
    """(n, knots) cubic B-splines at ``n`` samples, ``step`` knots apart; unit variance."""
    position = np.arange(n) * step
    knots = int(np.ceil(position[-1])) + 4
    distance = np.abs(position[:, None] - (np.arange(knots) - 1))
    near = 2 / 3 - distance**2 + distance**3 / 2
    far = np.clip(2 - distance, 0, None) ** 3 / 6
    basis = np.where(distance < 1, near, far)
    return np.asarray(basis / np.sqrt((basis**2).sum(axis=1).mean()), dtype=np.float32)
