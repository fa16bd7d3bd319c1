r"""Class shares under a Potts field: an external field that leaves them about what they are.

Mixing weights say how likely a class is for a pixel on its own. Beside neighbours they would count
twice: a rare class is drowned by them. On a tree in which each pixel has z neighbours, the field
of pairs with the marginals :math:`\pi` and the coupling :math:`\beta` is known,

.. math:: P_{kl} = a_k e^{\beta [k = l]} a_l, \quad \sum_l P_{kl} = \pi_k, \qquad
          h_k = (1 - z) \log \pi_k + z \log a_k,

where :math:`h` is what each pixel then owes itself. Without coupling it is :math:`\log \pi`.
"""

from __future__ import annotations

import numpy as np

_ROUNDS = 1000
_SURE = 1e-30  # least probability, so that its logarithm is a number


def external_field(weights: np.ndarray, beta: float, n_neighbours: int) -> np.ndarray:
    """Log weight of each class for a pixel among neighbours.

    Parameters
    ----------
    weights : (K,) array-like, mixing proportions of pixels on their own; positive
    beta : float, coupling in nats per neighbour
    n_neighbours : int, of each pixel: 4 in an image, 6 in a volume

    Returns
    -------
    (K,) float64 ndarray, nats, at most 0; 0 for the most frequent class

        A rarer class is never favoured over it: the formula would do so at strong couplings,
        for neighbours that are less alike than those of mean field.

    References
    ----------
    Baxter (1982), *Exactly Solved Models in Statistical Mechanics*, chapter 4, for the field on
    the Bethe lattice.

    Examples
    --------
    >>> external_field([0.9, 0.1], 0.0, 4).round(3)
    array([ 0.   , -2.197])
    >>> external_field([0.9, 0.1], 0.3, 4).round(3)
    array([ 0.   , -1.294])
    """
    pi = np.asarray(weights, np.float64) / np.sum(weights)
    coupling = np.ones((len(pi), len(pi))) + np.expm1(beta) * np.eye(len(pi))
    a = np.sqrt(pi)
    for _ in range(_ROUNDS):
        new = np.sqrt(a * pi / (coupling @ a))  # geometric mean of two steps of Sinkhorn's
        change = np.abs(new - a).max()
        a = new
        if change < 1e-12:
            break
    field = (1 - n_neighbours) * np.log(pi) + n_neighbours * np.log(a)
    return np.minimum(field - field[np.argmax(pi)], 0.0)


def unary(posteriors: np.ndarray, weights: np.ndarray, beta: float, n_axes: int) -> np.ndarray:
    """What a pixel says of its class by itself, for a Potts field over all of them.

    Parameters
    ----------
    posteriors : (..., K) float32 ndarray, of pixels on their own
    weights : (K,) ndarray, the mixing proportions that are in them
    beta : float, coupling in nats per neighbour
    n_axes : int, of the image: two or three

    Returns
    -------
    (..., K) float32 ndarray, nats
        Log posteriors, whose mixing proportions gave way to :func:`external_field`.
    """
    known = np.maximum(np.asarray(weights, np.float64), _SURE)
    change = external_field(known, beta, 2 * n_axes) - np.log(known)
    return np.asarray(np.log(np.maximum(posteriors, _SURE)) + change.astype(np.float32))
