"""How undecided posteriors are: voxel by voxel, and between each two classes."""

import numpy as np
from numba import njit

from gmmseg.spatial.boxes import Box
from gmmseg.threads import spread


@njit(cache=True, nogil=True)
def _entropy(first: int, stop: int, q: np.ndarray, brain: np.ndarray, out: np.ndarray) -> None:
    for i in range(first, stop):
        for j in range(q.shape[1]):
            for k in range(q.shape[2]):
                if brain[i, j, k]:
                    total = np.float32(0.0)
                    for c in range(q.shape[3]):
                        p = q[i, j, k, c]
                        if p > np.float32(1e-12):
                            total -= p * np.log(p)
                    out[i, j, k] = max(total, np.float32(0.0))


def entropy(q: np.ndarray, brain: np.ndarray, box: Box, shape: tuple[int, ...]) -> np.ndarray:
    """Entropy of the posterior of each brain voxel, "outside the brain" being a class of its own.

    Parameters
    ----------
    q : (x, y, z, K) float32 ndarray, rows summing to one
    brain : (x, y, z) bool ndarray
    box : three slices, where ``q`` lies in the image
    shape : (3,) int, of the image

    Returns
    -------
    (X, Y, Z) float32 ndarray, nats, 0 to log K; 0 outside the brain

    >>> q = np.full((1, 1, 1, 4), 0.25, np.float32)
    >>> box = (slice(0, 1), slice(0, 1), slice(0, 1))
    >>> round(float(entropy(q, np.ones((1, 1, 1), bool), box, (1, 1, 1))[0, 0, 0]), 4)
    1.3863
    """
    out = np.zeros(shape, np.float32)
    spread(_entropy, len(q), q, brain, out[box])
    return out


@njit(cache=True, nogil=True)
def _contacts(first: int, stop: int, q: np.ndarray, active: np.ndarray, planes: np.ndarray) -> None:
    n = q.shape[3]
    for i in range(first, stop):
        for j in range(q.shape[1]):
            for k in range(q.shape[2]):
                if active[i, j, k]:
                    for a in range(n):
                        for b in range(a):
                            planes[i, a, b] += q[i, j, k, a] * q[i, j, k, b]


def contacts(q: np.ndarray, active: np.ndarray) -> np.ndarray:
    """How much is undecided between each two classes: the sum over voxels of q_k q_l.

    It is the derivative of the volume of class k, in voxels, by a shift of the log odds of k
    against l that all voxels share; and the variance of the count if voxels were independent.

    Parameters
    ----------
    q : (x, y, z, K) float32 ndarray, rows summing to one
    active : (x, y, z) bool ndarray, voxels that count

    Returns
    -------
    (K, K) float64 ndarray, symmetric, zero on the diagonal
    """
    planes = np.zeros((len(q), q.shape[3], q.shape[3]))
    spread(_contacts, len(q), q, active, planes)
    lower = planes.sum(axis=0)
    return np.asarray(lower + lower.T)
