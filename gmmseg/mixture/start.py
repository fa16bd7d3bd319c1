"""Starting points for EM."""

from __future__ import annotations

import numpy as np

from gmmseg.checks import InputError
from gmmseg.mixture.covariance import maximise
from gmmseg.mixture.hierarchy import agglomerate
from gmmseg.mixture.libraries import one_blas_thread
from gmmseg.mixture.model import Mixture


def quantile(
    samples: np.ndarray, n_components: int, *, sample_weight: np.ndarray | None = None
) -> Mixture:
    """Cut the first channel into parts of equal weight; a component for each.

    Parameters
    ----------
    samples : (N, C) array-like
        Image units. With several channels, rows are sorted by the first.
    n_components : int
    sample_weight : (N,) array-like, optional

    Returns
    -------
    Mixture
        Components rise by mean. The same samples always give the same start.

    Raises
    ------
    InputError
        If there are fewer distinct values than components.

    Examples
    --------
    >>> quantile(np.arange(8.0)[:, None], 2).means.ravel()
    array([1.5, 5.5])
    """
    x, w = _weighted(samples, sample_weight, n_components)
    order = np.argsort(x[:, 0], kind="stable")
    x, w = x[order], w[order]
    upper = np.cumsum(w)
    lower, share = upper - w, upper[-1] / n_components
    parts = []
    for k in range(n_components):  # a row that straddles two parts counts in both, by its share
        inside = np.minimum(upper, (k + 1) * share) - np.maximum(lower, k * share)
        rows = np.flatnonzero(inside > 0)
        parts.append((rows, inside[rows]))
    return _assemble(x, w, parts)


def kmeans_plus_plus(
    samples: np.ndarray,
    n_components: int,
    rng: np.random.Generator,
    *,
    sample_weight: np.ndarray | None = None,
) -> Mixture:
    """Means spread by k-means++ seeding; each sample goes to the nearest.

    Parameters
    ----------
    samples : (N, C) array-like
    n_components : int
    rng : numpy.random.Generator
    sample_weight : (N,) array-like, optional

    Returns
    -------
    Mixture

    References
    ----------
    .. [1] Arthur & Vassilvitskii (2007), *k-means++: the advantages of careful seeding*, SODA.
    """
    x, w = _weighted(samples, sample_weight, n_components)
    return from_labels(
        x, nearest(x, _seeds(x, w, n_components, rng)), n_components, sample_weight=w
    )


def kmeans(
    samples: np.ndarray,
    n_components: int,
    rng: np.random.Generator,
    *,
    sample_weight: np.ndarray | None = None,
    max_iter: int = 100,
) -> Mixture:
    """k-means from k-means++ seeds.

    Parameters
    ----------
    samples : (N, C) array-like
    n_components : int
    rng : numpy.random.Generator
    sample_weight : (N,) array-like, optional
    max_iter : int

    Returns
    -------
    Mixture

    References
    ----------
    .. [1] Lloyd (1982), *IEEE Trans. Inf. Theory* 28, 129-137.
    """
    x, w = _weighted(samples, sample_weight, n_components)
    centres = _seeds(x, w, n_components, rng)
    labels = nearest(x, centres)
    for _ in range(max_iter):
        mass = np.bincount(labels, w, n_components)
        sums = np.stack([np.bincount(labels, w * column, n_components) for column in x.T], axis=1)
        filled = mass > 0
        centres[filled] = sums[filled] / mass[filled, None]
        moved, labels = labels, nearest(x, centres)
        if np.array_equal(moved, labels):
            break
    return from_labels(x, labels, n_components, sample_weight=w)


def random(
    samples: np.ndarray,
    n_components: int,
    rng: np.random.Generator,
    *,
    sample_weight: np.ndarray | None = None,
) -> Mixture:
    """Means at different samples drawn at random; every covariance that of all samples.

    Parameters
    ----------
    samples : (N, C) array-like
    n_components : int
    rng : numpy.random.Generator
    sample_weight : (N,) array-like, optional

    Returns
    -------
    Mixture
    """
    x, w = _weighted(samples, sample_weight, n_components)
    distinct, first = np.unique(x, axis=0, return_index=True)
    chance = w[first] + 0.0
    chance /= chance.sum()
    if np.count_nonzero(chance) < n_components:
        raise InputError(_too_few(int(np.count_nonzero(chance)), n_components))
    means = distinct[rng.choice(len(distinct), n_components, replace=False, p=chance)]
    covariances = np.broadcast_to(
        _pooled(x, w, x.mean(axis=0)), (n_components, x.shape[1], x.shape[1])
    )
    return Mixture(np.full(n_components, 1 / n_components), means, covariances)


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
    x = np.asarray(samples, dtype=np.float64)
    labels = np.asarray(labels)
    w = np.ones(len(x)) if sample_weight is None else np.asarray(sample_weight, dtype=np.float64)
    k = int(labels.max()) + 1 if n_components is None else n_components
    used = labels >= 0
    x, w, labels = x[used], w[used], labels[used]
    order = np.argsort(labels, kind="stable")
    bounds = np.cumsum(np.bincount(labels, minlength=k))[:-1]
    parts = [(rows, w[rows]) for rows in np.split(order, bounds)]
    return _assemble(x, w, parts, covariance_type, blur)


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
    samples : (N, C) array-like
    responsibilities : (N, K) array-like
    sample_weight : (N,) array-like, optional
    covariance_type : str
    blur : float
        Variance added to each sample, image units squared.

    Returns
    -------
    Mixture
    """
    x = np.asarray(samples, dtype=np.float64)
    w = np.ones(len(x)) if sample_weight is None else np.asarray(sample_weight, dtype=np.float64)
    parts = []
    for share in np.asarray(responsibilities).T:
        rows = np.flatnonzero(share)
        parts.append((rows, share[rows] * w[rows]))
    return _assemble(x, w, parts, covariance_type, blur)


def _assemble(
    x: np.ndarray,
    w: np.ndarray,
    parts: list[tuple[np.ndarray, np.ndarray]],
    covariance_type: str = "full",
    blur: float = 0.0,
) -> Mixture:
    """The mixture whose component k is made of rows and their weights ``parts[k]``."""
    k, c = len(parts), x.shape[1]
    spread = np.diagonal(_pooled(x, w, np.average(x, axis=0, weights=w))).copy()
    widest = float(spread.max())
    spread[spread <= 1e-12 * widest] = widest if widest > 0 else 1.0
    counts = np.array([own.sum() for _, own in parts])
    means, scatter = np.empty((k, c)), np.zeros((k, c, c))
    for j, (rows, own) in enumerate(parts):
        if counts[j] > 0:
            means[j] = np.average(x[rows], axis=0, weights=own)
            scatter[j] = counts[j] * _pooled(x[rows], own, means[j])
    for j in np.flatnonzero(counts <= 0).tolist():
        known = means[np.flatnonzero(counts > 0)]
        distance = ((x[:, None] - known) ** 2 / spread).sum(axis=2).min(axis=1)
        means[j] = x[np.argmax(distance)]
        counts[j] = w.sum() / (100 * k)
    scatter += blur * counts[:, None, None] * np.eye(c)
    scaled = scatter / counts[:, None, None] / np.sqrt(spread[:, None] * spread)
    thin = np.linalg.eigvalsh(scaled)[:, 0] < 1e-9 * (blur == 0)
    scatter[thin] += counts[thin, None, None] * (1e-3 / k**2) * np.diag(spread)
    return Mixture(counts / counts.sum(), means, maximise(scatter, counts, covariance_type))


def hierarchical(
    samples: np.ndarray,
    n_components: int,
    rng: np.random.Generator,
    *,
    sample_weight: np.ndarray | None = None,
    max_samples: int = 1000,
) -> Mixture:
    """Model-based agglomeration of a subsample, as mclust starts (its model VVV).

    Parameters
    ----------
    samples : (N, C) array-like
    n_components : int
    rng : numpy.random.Generator
        Draws the subsample; without one the result does not depend on it.
    sample_weight : (N,) array-like, optional
    max_samples : int
        Size of the subsample; time grows with its square.

    Returns
    -------
    Mixture
        Of all samples, each with the nearest group of the subsample.

    References
    ----------
    .. [1] Fraley (1998), Algorithms for model-based Gaussian hierarchical clustering,
       *SIAM J. Sci. Comput.* 20, 270-281, doi 10.1137/S1064827596311451.
    """
    x, w = _weighted(samples, sample_weight, n_components)
    rows = np.arange(len(x))
    if len(x) > max_samples:
        rows = np.sort(rng.choice(len(x), max_samples, replace=False, p=w / w.sum()))
    part = x[rows]
    spread = part.std(axis=0)
    labels = agglomerate(part / np.where(spread > 0, spread, 1.0), w[rows], n_components)
    if len(part) < len(x):
        grown = from_labels(part, labels, n_components)
        labels = np.argmax(grown.log_density(x) + np.log(grown.weights), axis=1)
    return from_labels(x, labels, n_components, sample_weight=w)


def _weighted(
    samples: np.ndarray, sample_weight: np.ndarray | None, n_components: int
) -> tuple[np.ndarray, np.ndarray]:
    """Rows without missing values and their weights, at least n_components distinct ones."""
    x = np.asarray(samples, dtype=np.float64)
    if x.ndim != 2:
        raise InputError(f"samples must have shape (N, C); got {x.shape}.")
    if n_components < 1:
        raise InputError(f"n_components must be at least 1; got {n_components}.")
    w = np.ones(len(x)) if sample_weight is None else np.asarray(sample_weight, dtype=np.float64)
    keep = np.isfinite(x).all(axis=1) & (w > 0)
    x, w = x[keep], w[keep]
    if len(np.unique(x[: 100 * n_components], axis=0)) < n_components:
        distinct = len(np.unique(x, axis=0))
        if distinct < n_components:
            raise InputError(_too_few(distinct, n_components))
    return x, w


def _too_few(distinct: int, n_components: int) -> str:
    return (
        f"{n_components} components need at least as many distinct samples; found {distinct} "
        f"complete ones. Ask for fewer components."
    )


def _seeds(x: np.ndarray, w: np.ndarray, k: int, rng: np.random.Generator) -> np.ndarray:
    centres = np.empty((k, x.shape[1]))
    centres[0] = x[rng.choice(len(x), p=w / w.sum())]
    closest = ((x - centres[0]) ** 2).sum(axis=1)
    trials = 2 + int(np.log(k))
    for j in range(1, k):
        chance = np.cumsum(closest * w)
        if not chance[-1] > 0:
            raise InputError(_too_few(j, k))
        picks = np.searchsorted(chance, rng.random(trials) * chance[-1], side="right")
        picks = np.minimum(picks, len(x) - 1)
        distances = [np.minimum(closest, ((x - x[p]) ** 2).sum(axis=1)) for p in picks]
        best = int(np.argmin(np.array(distances) @ w))
        centres[j], closest = x[picks[best]], distances[best]
    return centres


def nearest(x: np.ndarray, centres: np.ndarray) -> np.ndarray:
    """Index (N,) of the nearest of (K, C) centres for each row, a slab of rows at a time."""
    labels = np.empty(len(x), dtype=np.intp)
    middle = centres.mean(axis=0)  # keeps squares small, so that nothing is lost below
    moved = centres - middle
    offsets = 0.5 * np.square(moved).sum(axis=1)
    rows = max(1, 2**20 // len(centres))
    with one_blas_thread():
        for first in range(0, len(x), rows):
            part = x[first : first + rows] - middle
            labels[first : first + rows] = (offsets - part @ moved.T).argmin(axis=1)
    return labels


def _pooled(x: np.ndarray, w: np.ndarray, mean: np.ndarray) -> np.ndarray:
    residual = x - mean
    with one_blas_thread():
        return (residual * w[:, None]).T @ residual / w.sum()
