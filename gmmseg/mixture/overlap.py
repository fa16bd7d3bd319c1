"""How far components lie apart, and merging those that overlap."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gmmseg.checks import InputError
from gmmseg.mixture.em import posteriors
from gmmseg.mixture.model import Mixture, whitening


def kullback_leibler(mixture: Mixture) -> np.ndarray:
    """Divergence of each component from each other, in nats.

    Parameters
    ----------
    mixture : Mixture

    Returns
    -------
    (K, K) ndarray
        Entry (i, j) is the divergence of component i from j; not symmetric, zero on the
        diagonal.

    Examples
    --------
    >>> kullback_leibler(Mixture([0.5, 0.5], [[0.0], [2.0]], [[[1.0]], [[1.0]]]))
    array([[0., 2.],
           [2., 0.]])
    """
    roots, log_dets = whitening(mixture.covariances)
    k, c = mixture.means.shape
    out = np.empty((k, k))
    for i in range(k):
        for j in range(k):
            white = roots[j] @ (mixture.means[i] - mixture.means[j])
            inner = roots[j] @ mixture.covariances[i] @ roots[j].T
            out[i, j] = 0.5 * (np.trace(inner) - c + white @ white) + log_dets[i] - log_dets[j]
    np.fill_diagonal(out, 0.0)
    return out


def bhattacharyya(mixture: Mixture) -> np.ndarray:
    """Bhattacharyya distance between components, (K, K), symmetric, in nats.

    ``exp(-distance)`` bounds the overlap of two components from above.

    Examples
    --------
    >>> bhattacharyya(Mixture([0.5, 0.5], [[0.0], [4.0]], [[[1.0]], [[1.0]]]))
    array([[0., 2.],
           [2., 0.]])
    """
    k = mixture.n_components
    _, log_dets = whitening(mixture.covariances)
    out = np.zeros((k, k))
    for i in range(k):
        for j in range(i):
            middle = 0.5 * (mixture.covariances[i] + mixture.covariances[j])
            root, log_det = whitening(middle[None])
            white = root[0] @ (mixture.means[i] - mixture.means[j])
            out[i, j] = out[j, i] = (
                white @ white / 8 - log_det[0] + 0.5 * (log_dets[i] + log_dets[j])
            )
    return out


@dataclass(frozen=True, slots=True, eq=False)
class Merging:
    """Components merged into clusters.

    Attributes
    ----------
    cluster : (K,) intp ndarray
        Cluster of each component, from 0.
    entropy : (K - n_clusters + 1,) ndarray
        Classification entropy of the samples, nats, before any merge and after each; an
        elbow tells how many clusters there are.
    merges : tuple of (int, int)
        The components whose clusters met, in order.
    """

    cluster: np.ndarray
    entropy: np.ndarray
    merges: tuple[tuple[int, int], ...]


def merge_components(
    samples: np.ndarray,
    mixture: Mixture,
    n_clusters: int,
    *,
    sample_weight: np.ndarray | None = None,
) -> Merging:
    """Join components that describe one cluster, where that lowers the entropy most.

    Parameters
    ----------
    samples : (N, C) array-like
    mixture : Mixture
        As many components as the density needs (BIC), often more than clusters (ICL).
    n_clusters : int
    sample_weight : (N,) array-like, optional

    Returns
    -------
    Merging

    References
    ----------
    .. [1] Baudry et al. (2010), *J. Comput. Graph. Stat.* 19, 332-353,
       doi 10.1198/jcgs.2010.08111.
    """
    k = mixture.n_components
    if not 1 <= n_clusters <= k:
        raise InputError(f"n_clusters must be from 1 to {k}; got {n_clusters}.")
    shares = list(posteriors(samples, mixture)[0].T)
    members = [[j] for j in range(k)]
    weight = np.ones(len(shares[0])) if sample_weight is None else np.asarray(sample_weight)
    own = [_entropy(share, weight) for share in shares]
    entropy, merges = [sum(own)], []
    while len(shares) > n_clusters:
        gains = [
            (own[i] + own[j] - _entropy(shares[i] + shares[j], weight), -i, -j)
            for i in range(len(shares))
            for j in range(i)
        ]
        gain, i, j = max(gains)
        i, j = -i, -j
        merges.append((members[j][0], members[i][0]))
        shares[j] = shares[j] + shares.pop(i)
        members[j] += members.pop(i)
        own.pop(i)
        own[j] = _entropy(shares[j], weight)
        entropy.append(entropy[-1] - gain)
    cluster = np.empty(k, dtype=np.intp)
    for number, group in enumerate(members):
        cluster[group] = number
    return Merging(cluster, np.array(entropy), tuple(merges))


def _entropy(share: np.ndarray, weight: np.ndarray) -> float:
    logs = np.log(np.maximum(share, np.finfo(float).tiny))
    return float(-(weight * share) @ logs)
