"""scikit-learn's starting points, draw for draw: the same seed starts at the same place."""

from __future__ import annotations

import warnings

import numpy as np

from gmmseg.checks import InputError
from gmmseg.mixture import missing, start

MOST_ROWS = 200_000  # a start needs no more; EM itself sees every row


def rows_to_start_from(
    X: np.ndarray,
    n_components: int,
    init: str | np.ndarray,
    sample_weight: np.ndarray | None,
    state: np.random.RandomState,
) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """Rows to start from, what component they belong to, and their weights.

    Parameters
    ----------
    X : (N, C) float ndarray
        Rows with missing values are filled with column means, for the start alone.
    n_components : int
    init : str or (N,) int array-like
        A name, or the labels themselves.
    sample_weight : (N,) ndarray, optional
    state : numpy.random.RandomState

    Returns
    -------
    rows : (M, C) float64 ndarray, M at most 200,000
    belonging : (M,) int ndarray of labels, or (M, K) float64 ndarray of responsibilities
    weight : (M,) ndarray, or None
    """
    if not isinstance(init, str):
        return _from_labels(X, np.asarray(init), n_components, sample_weight)
    rows = np.arange(len(X))
    if len(X) > MOST_ROWS:
        rows = np.sort(state.choice(len(X), MOST_ROWS, replace=False))
    x = np.asarray(X[rows], dtype=np.float64 if init != "random" else X.dtype)
    weight = None if sample_weight is None else sample_weight[rows]
    if missing.any_missing(x):
        x = np.where(np.isnan(x), np.nanmean(x, axis=0), x)
    if init in ("random", "k-means++", "random_from_data"):
        _warn_of_repeats(x, n_components)
    if init == "random":
        r = state.uniform(size=(len(x), n_components))
        return x, r / r.sum(axis=1, keepdims=True), weight
    return x, _labels(x, n_components, init, weight, state), weight


def _warn_of_repeats(x: np.ndarray, n_components: int) -> None:
    """Say it where k-means would: components can only share what is there."""
    distinct = start.count_distinct(x, n_components)
    if distinct < n_components:
        from sklearn.exceptions import ConvergenceWarning

        warnings.warn(
            f"Number of distinct samples ({distinct}) is smaller than n_components "
            f"({n_components}); some components repeat others.",
            ConvergenceWarning,
            stacklevel=2,
        )


def _labels(
    x: np.ndarray,
    k: int,
    init: str,
    weight: np.ndarray | None,
    state: np.random.RandomState,
) -> np.ndarray:
    if init == "kmeans":
        from sklearn.cluster import KMeans  # warns if there are fewer distinct samples than K

        return (
            KMeans(n_clusters=k, n_init=1, random_state=state).fit(x, sample_weight=weight).labels_
        )
    if init in ("k-means++", "random_from_data"):
        if init == "k-means++":
            from sklearn.cluster import kmeans_plusplus

            _, seeds = kmeans_plusplus(x, k, sample_weight=weight, random_state=state)
        else:
            share = None if weight is None else weight / weight.sum()
            seeds = state.choice(len(x), size=k, replace=False, p=share)
        return start.nearest(x, x[seeds])
    rng = np.random.default_rng(state.randint(2**31 - 1, size=4))
    if init == "quantile":
        mixture = start.quantile(x, k, sample_weight=weight)
    else:
        mixture = start.hierarchical(x, k, rng, sample_weight=weight)
    return start.nearest(x, mixture.means)


def _from_labels(
    X: np.ndarray, labels: np.ndarray, k: int, sample_weight: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    if labels.shape != (len(X),) or labels.dtype.kind not in "iu":
        raise InputError(
            f"labels given as init_params must be {len(X)} whole numbers, one a sample; "
            f"got an array of shape {labels.shape} and dtype {labels.dtype}."
        )
    if labels.max() >= k:
        raise InputError(
            f"labels given as init_params must be below n_components = {k}; got {labels.max()}."
        )
    used = labels >= 0
    x = np.asarray(X[used], dtype=np.float64)
    if missing.any_missing(x):
        x = np.where(np.isnan(x), np.nanmean(x, axis=0), x)
    weight = None if sample_weight is None else sample_weight[used]
    return x, labels[used], weight
