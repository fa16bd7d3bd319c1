r"""Posteriors that are as sure as they are right.

Two things make the marginals of the Potts field too sure: mean field takes what neighbours say for
independent, and one Gaussian a tissue takes mixed voxels for pure ones. Both are undone, on the
whole, by one temperature :math:`T`, with :math:`p \propto q^{1/T}`: classes keep their order, and
so labels stay as they are.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from gmmseg.threads import spread

ALONE, PER_NAT = 1.2, 1.0
"""Temperature without a field, and what each nat per neighbour adds: chosen on simulated heads and
phantoms with exact truth. ``docs/design.md``, "Are probabilities calibrated?", has the figures."""


def field_temperature(strength: float) -> float:
    """Temperature at which marginals of a Potts field are calibrated.

    Parameters
    ----------
    strength : float, coupling of the field, nats per neighbour; 0 without one

    References
    ----------
    Guo et al. (2017), On calibration of modern neural networks, section 4.2, arXiv 1706.04599.

    >>> [round(field_temperature(strength), 2) for strength in (0, 0.3, 0.8)]
    [1.2, 1.5, 2.0]
    """
    return ALONE + PER_NAT * strength


@njit(cache=True, nogil=True)
def _soften(first: int, stop: int, q: np.ndarray, where: np.ndarray, exponent: np.float32) -> None:
    n_classes = q.shape[3]
    for i in range(first, stop):
        for j in range(q.shape[1]):
            for k in range(q.shape[2]):
                if not where[i, j, k]:
                    continue
                total = np.float32(0.0)
                for c in range(n_classes):
                    if q[i, j, k, c] > 0:
                        q[i, j, k, c] **= exponent
                        total += q[i, j, k, c]
                for c in range(n_classes):
                    q[i, j, k, c] /= total


def soften(q: np.ndarray, where: np.ndarray, temperature: float) -> None:
    """Raise marginals to the power of 1 / ``temperature`` and normalise them, in place.

    Parameters
    ----------
    q : (X, Y, Z, K) float32 ndarray, rows sum to one
    where : (X, Y, Z) bool ndarray, voxels that are to change
    temperature : float, positive

    >>> q = np.array([0.8, 0.2, 0.0], np.float32).reshape(1, 1, 1, 3)
    >>> soften(q, np.ones((1, 1, 1), bool), 2.0)
    >>> (100 * q.ravel()).round().tolist()
    [67.0, 33.0, 0.0]
    """
    spread(_soften, len(q), q, where, np.float32(1 / temperature))
