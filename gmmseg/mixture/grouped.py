"""The mixture of samples whose components are known, wholly or in part."""

from __future__ import annotations

import numpy as np

from gmmseg.checks import InputError
from gmmseg.mixture.covariance import maximise
from gmmseg.mixture.libraries import one_blas_thread
from gmmseg.mixture.model import Mixture
from gmmseg.mixture.settings import weights_for


def rows_and_weights(
    samples: np.ndarray, sample_weight: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray]:
    """Samples (N, C) and weights (N,) as float64, or an InputError."""
    x = np.asarray(samples, dtype=np.float64)
    if x.ndim != 2:
        raise InputError(f"samples must have shape (N, C); got {x.shape}.")
    if sample_weight is None:
        return x, np.ones(len(x))
    return x, weights_for(sample_weight, len(x))


def from_labels(
    samples: np.ndarray,
    labels: np.ndarray,
    n_components: int | None = None,
    *,
    sample_weight: np.ndarray | None = None,
    covariance_type: str = "full",
    blur: float = 0.0,
) -> Mixture:
    """The mixture of labelled samples.

    Parameters
    ----------
    samples : (N, C) array-like
    labels : (N,) int array-like
        Component of each sample, 0 to K - 1; a negative label leaves the sample out.
    n_components : int, optional
    sample_weight : (N,) array-like, optional
    covariance_type : str
    blur : float
        Variance added to each sample, image units squared.

    Returns
    -------
    Mixture
        A label held by too few samples for a covariance takes a small round one; a label
        that none holds starts at the sample furthest from the other means.
    """
    x, w = rows_and_weights(samples, sample_weight)
    labels = np.asarray(labels)
    k = int(labels.max()) + 1 if n_components is None else n_components
    used = labels >= 0
    x, w, labels = x[used], w[used], labels[used]
    order = np.argsort(labels, kind="stable")
    bounds = np.cumsum(np.bincount(labels, minlength=k))[:-1]
    parts = [(rows, w[rows]) for rows in np.split(order, bounds)]
    return assemble(x, w, parts, covariance_type, blur)


def from_responsibilities(
    samples: np.ndarray,
    responsibilities: np.ndarray,
    *,
    sample_weight: np.ndarray | None = None,
    covariance_type: str = "full",
    blur: float = 0.0,
) -> Mixture:
    """The mixture of samples that belong to components in part.

    Parameters
    ----------
    responsibilities : (N, K) array-like
    samples, sample_weight, covariance_type, blur
        As for :func:`from_labels`.

    Returns
    -------
    Mixture
    """
    x, w = rows_and_weights(samples, sample_weight)
    parts = []
    for share in np.asarray(responsibilities).T:
        rows = np.flatnonzero(share)
        parts.append((rows, share[rows] * w[rows]))
    return assemble(x, w, parts, covariance_type, blur)


def assemble(
    x: np.ndarray,
    w: np.ndarray,
    parts: list[tuple[np.ndarray, np.ndarray]],
    covariance_type: str = "full",
    blur: float = 0.0,
) -> Mixture:
    """The mixture whose component k is made of rows and their weights ``parts[k]``."""
    k, c = len(parts), x.shape[1]
    spread = np.diagonal(pooled(x, w, np.average(x, axis=0, weights=w))).copy()
    widest = float(spread.max())
    spread[spread <= 1e-12 * widest] = widest if widest > 0 else 1.0
    counts = np.array([own.sum() for _, own in parts])
    means, scatter = np.empty((k, c)), np.zeros((k, c, c))
    for j, (rows, own) in enumerate(parts):
        if counts[j] > 0:
            means[j] = np.average(x[rows], axis=0, weights=own)
            scatter[j] = counts[j] * pooled(x[rows], own, means[j])
    for j in np.flatnonzero(counts <= 0).tolist():
        known = means[np.flatnonzero(counts > 0)]
        distance = ((x[:, None] - known) ** 2 / spread).sum(axis=2).min(axis=1)
        means[j] = x[np.argmax(distance)]
        counts[j] = w.sum() / (100 * k)
    scatter += blur * counts[:, None, None] * np.eye(c)
    deviations = np.sqrt(spread)
    scaled = scatter / counts[:, None, None] / deviations[:, None] / deviations
    thin = np.linalg.eigvalsh(scaled)[:, 0] < 1e-9 * (blur == 0)
    scatter[thin] += counts[thin, None, None] * (1e-3 / k**2) * np.diag(spread)
    return Mixture(counts / counts.sum(), means, maximise(scatter, counts, covariance_type))


def pooled(x: np.ndarray, w: np.ndarray, mean: np.ndarray) -> np.ndarray:
    """Covariance (C, C) of weighted samples about a given mean."""
    residual = x - mean
    with one_blas_thread():
        return (residual * w[:, None]).T @ residual / w.sum()
