"""scikit-learn's forms of covariances and precisions, to full matrices and back."""

from __future__ import annotations

from typing import Any

import numpy as np

from gmmseg.mixture.model import LOG_2PI, whitening
from gmmseg.mixture.moments import Terms


def expand(values: np.ndarray, form: str, n_components: int, n_channels: int) -> np.ndarray:
    """Covariances or precisions of any of scikit-learn's forms as (K, C, C), float64."""
    values = np.asarray(values, dtype=np.float64)
    if form == "tied":
        return np.broadcast_to(values, (n_components, n_channels, n_channels)).copy()
    if form == "diag":
        return values[:, :, None] * np.eye(n_channels)
    if form == "spherical":
        return values[:, None, None] * np.eye(n_channels)
    return values


def shrink(values: np.ndarray, form: str) -> np.ndarray:
    """The inverse of :func:`expand`."""
    if form == "tied":
        return values[0].copy()
    if form == "diag":
        return np.diagonal(values, axis1=1, axis2=2).copy()
    if form == "spherical":
        return values[:, 0, 0].copy()
    return values.copy()


def attributes_of(
    weights: np.ndarray, means: np.ndarray, covariances: np.ndarray, form: str, dtype: Any
) -> dict[str, np.ndarray]:
    """An estimator's attributes, in the dtype of its samples, or float64 where that overflows."""
    upper = whitening(covariances)[0].transpose(0, 2, 1)
    precisions = upper @ upper.transpose(0, 2, 1)
    largest = max(np.abs(array).max() for array in (means, covariances, precisions))
    dtype = np.float64 if largest > np.finfo(dtype).max else dtype
    values = {
        "weights_": weights,
        "means_": means,
        "covariances_": shrink(covariances, form),
        "precisions_cholesky_": shrink(upper, form),
        "precisions_": shrink(precisions, form),
    }
    return {name: value.astype(dtype) for name, value in values.items()}


def terms_from(
    means: np.ndarray, weights: np.ndarray, precisions_cholesky: np.ndarray, form: str
) -> Terms:
    """Terms of the E-step from an estimator's attributes."""
    means = np.asarray(means, dtype=np.float64)
    k, c = means.shape
    upper = expand(precisions_cholesky, form, k, c)
    roots = upper.transpose(0, 2, 1)
    log_dets = np.log(np.diagonal(roots, axis1=1, axis2=2)).sum(axis=1)
    if form in ("diag", "spherical"):
        roots = np.diagonal(roots, axis1=1, axis2=2).copy()
    with np.errstate(divide="ignore"):
        log_weights = np.log(np.asarray(weights, dtype=np.float64))
    return Terms(means, roots, log_dets - 0.5 * c * LOG_2PI, log_weights)
