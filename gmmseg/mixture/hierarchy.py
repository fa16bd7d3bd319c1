r"""Model-based agglomeration: groups merge where the classification likelihood loses least.

The cost of a group of weight n and scatter W is :math:`n \log(|W / n + \epsilon|)`, as for
mclust's VVV; a merge adds the cost of the union less those of its parts.
"""

from __future__ import annotations

import numpy as np
from numba import njit


def agglomerate(x: np.ndarray, weight: np.ndarray, n_groups: int) -> np.ndarray:
    r"""Merge samples into groups, two at a time.

    Parameters
    ----------
    x : (N, C) float64 ndarray
        Scaled to unit deviation. Time grows with N^2 C^3.
    weight : (N,) float64 ndarray
    n_groups : int

    Returns
    -------
    (N,) intp ndarray
        Group of each sample, numbered in the order of their first samples.

    Notes
    -----
    A group smaller than C + 1 has a singular scatter. As in Fraley (1998), eq. 10, traces
    stand in: :math:`n \log(|W/n| + (\mathrm{tr}(W) + \alpha) / n)`, here with
    :math:`\alpha = \mathrm{tr}(\mathrm{cov}\,x) / N`.
    """
    labels = _merge(
        np.ascontiguousarray(x, dtype=np.float64),
        np.ascontiguousarray(weight, dtype=np.float64) / weight.mean(),
        n_groups,
        float(np.var(x, axis=0).sum()) / len(x),
    )
    _, first, groups = np.unique(labels, return_index=True, return_inverse=True)
    rank = np.empty(len(first), dtype=np.intp)
    rank[np.argsort(first)] = np.arange(len(first))
    return rank[groups]


@njit(cache=True)
def _cost(n: float, scatter: np.ndarray, alpha: float) -> float:
    trace = 0.0
    for a in range(scatter.shape[0]):
        trace += scatter[a, a]
    return n * np.log(max(np.linalg.det(scatter / n), 0.0) + (trace + alpha) / n)


@njit(cache=True)
def _joined(
    i: int, j: int, n: np.ndarray, means: np.ndarray, scatters: np.ndarray, out: np.ndarray
) -> None:
    d = means[i] - means[j]
    factor = n[i] * n[j] / (n[i] + n[j])
    for a in range(len(d)):
        for b in range(len(d)):
            out[a, b] = scatters[i, a, b] + scatters[j, a, b] + factor * d[a] * d[b]


@njit(cache=True)
def _merge(x: np.ndarray, weight: np.ndarray, n_groups: int, alpha: float) -> np.ndarray:
    size, channels = x.shape
    n, means = weight.copy(), x.copy()
    scatters = np.zeros((size, channels, channels))
    union = np.empty((channels, channels))
    cost = np.empty(size)
    for i in range(size):
        cost[i] = _cost(n[i], scatters[i], alpha)
    labels = np.arange(size)
    alive = np.ones(size, dtype=np.bool_)
    best = np.full(size, np.inf)  # cheapest merge of each group with one of lower index
    partner = np.zeros(size, dtype=np.int64)
    for i in range(size):
        for j in range(i):
            _joined(i, j, n, means, scatters, union)
            value = _cost(n[i] + n[j], union, alpha) - cost[i] - cost[j]
            if value < best[i]:
                best[i], partner[i] = value, j
    for _ in range(size - n_groups):
        i = int(np.argmin(best))
        j = int(partner[i])
        _joined(i, j, n, means, scatters, scatters[j])
        means[j] = (n[i] * means[i] + n[j] * means[j]) / (n[i] + n[j])
        n[j] += n[i]
        cost[j] = _cost(n[j], scatters[j], alpha)
        alive[i], best[i] = False, np.inf
        for k in range(size):
            if labels[k] == i:
                labels[k] = j
        for k in range(size):
            if not alive[k] or (k == j and j == 0):
                continue
            if k == j or partner[k] == i or partner[k] == j:
                best[k] = np.inf
                low, high = 0, k
            elif k > j:
                low, high = j, j + 1
            else:
                continue
            for other in range(low, high):
                if alive[other]:
                    _joined(k, other, n, means, scatters, union)
                    value = _cost(n[k] + n[other], union, alpha) - cost[k] - cost[other]
                    if value < best[k]:
                        best[k], partner[k] = value, other
    return labels
