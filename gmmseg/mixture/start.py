"""Starting points for EM."""

from __future__ import annotations

import numpy as np

from gmmseg.checks import InputError
from gmmseg.mixture.grouped import (
    assemble,
    from_labels,
    from_responsibilities,
    pooled,
    rows_and_weights,
)
from gmmseg.mixture.hierarchy import agglomerate
from gmmseg.mixture.libraries import one_blas_thread
from gmmseg.mixture.model import Mixture

__all__ = [
    "from_labels",
    "from_responsibilities",
    "hierarchical",
    "kmeans",
    "kmeans_plus_plus",
    "nearest",
    "quantile",
    "random",
]


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
    return assemble(x, w, parts)


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
    samples, n_components, sample_weight
        As for :func:`quantile`.
    rng : numpy.random.Generator

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
    samples, n_components, sample_weight
        As for :func:`quantile`.
    rng : numpy.random.Generator
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
    samples, n_components, sample_weight
        As for :func:`quantile`.
    rng : numpy.random.Generator

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
        pooled(x, w, x.mean(axis=0)), (n_components, x.shape[1], x.shape[1])
    )
    return Mixture(np.full(n_components, 1 / n_components), means, covariances)


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
    samples, n_components, sample_weight
        As for :func:`quantile`.
    rng : numpy.random.Generator
        Draws the subsample; without one the result does not depend on it.
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
    x, w = rows_and_weights(samples, sample_weight)
    if n_components < 1:
        raise InputError(f"n_components must be at least 1; got {n_components}.")
    keep = np.isfinite(x).all(axis=1) & (w > 0)
    x, w = x[keep], w[keep]
    distinct = count_distinct(x, n_components)
    if distinct < n_components:
        raise InputError(_too_few(distinct, n_components))
    return x, w


def count_distinct(x: np.ndarray, enough: int) -> int:
    """How many rows differ from each other; may stop counting at ``enough``."""
    few = len(np.unique(x[: 100 * enough], axis=0))
    return few if few >= enough else len(np.unique(x, axis=0))


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
