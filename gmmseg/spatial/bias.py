"""Smooth log bias field in a separable cosine basis, solved inside the EM.

The corrected intensity is ``y exp(b(x))`` with ``b`` a sum of low-frequency cosines under a bending
energy prior (Ashburner & Friston 2005, doi 10.1016/j.neuroimage.2005.02.018, eqs 10-11).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, slots=True, eq=False)
class CosineBasis:
    """Cosines along each axis of a lattice and the prior precision of their products.

    Attributes
    ----------
    axes : three (n_i, q_i) float64 ndarrays, the cosines along each axis
    precision : (q_0, q_1, q_2) float64 ndarray, prior precision of each coefficient
    """

    axes: tuple[np.ndarray, np.ndarray, np.ndarray]
    precision: np.ndarray

    def field(self, coefficients: np.ndarray) -> np.ndarray:
        """(n_0, n_1, n_2) log field of the coefficients (q_0, q_1, q_2)."""
        x, y, z = (axis.astype(coefficients.dtype) for axis in self.axes)
        planes = np.matmul(y, np.matmul(coefficients, z.T))  # (q_0, n_1, n_2)
        return (x @ planes.reshape(len(planes), -1)).reshape(len(x), len(y), len(z))

    def project(self, weights: np.ndarray) -> np.ndarray:
        """(q_0, q_1, q_2) sums over the lattice of ``weights`` times each basis function."""
        x, y, z = self.axes
        return np.einsum("ip,jq,kr,ijk->pqr", x, y, z, weights, optimize=True)

    def normal_matrix(self, weights: np.ndarray) -> np.ndarray:
        """Gram matrix of the basis under ``weights`` (n_0, n_1, n_2), flattened to (Q, Q).

        Summed one axis at a time, which costs far less than forming the basis over the lattice
        (Ashburner & Friston 2005, appendix).
        """
        x, y, z = self.axes
        xx = (x[:, :, None] * x[:, None, :]).reshape(len(x), -1)
        yy = (y[:, :, None] * y[:, None, :]).reshape(len(y), -1)
        zz = (z[:, :, None] * z[:, None, :]).reshape(len(z), -1)
        gram = np.tensordot(xx.T, weights, 1)
        gram = np.tensordot(gram, zz, 1)  # (xx, j, zz)
        gram = np.einsum("ajc,jb->abc", gram, yy, optimize=True)
        p, q, r = x.shape[1], y.shape[1], z.shape[1]
        gram = gram.reshape(p, p, q, q, r, r).transpose(0, 2, 4, 1, 3, 5)
        return gram.reshape(p * q * r, p * q * r)

    def resampled(self, positions: Sequence[np.ndarray]) -> "CosineBasis":
        """The same basis at other positions (three arrays of lattice indices, may be fractions)."""
        x, y, z = (
            _cosines(p, len(a), a.shape[1]) for p, a in zip(positions, self.axes, strict=True)
        )
        return CosineBasis((x, y, z), self.precision)


def cosine_basis(
    shape: Sequence[int],
    spacing: Sequence[float] | np.ndarray,
    cutoff_mm: float,
    stiffness: float,
) -> CosineBasis:
    """Cosines over a lattice with the prior of their coefficients.

    Parameters
    ----------
    shape : (3,) int, points of the lattice along each axis
    spacing : (3,) float, mm
    cutoff_mm : float
        Shortest wavelength, mm.
    stiffness : float
        A coefficient of spatial frequency w (rad/mm) has the prior standard deviation
        ``1 / (stiffness w)^2``; mm. The constant is held at zero: it belongs to the class means.

    Returns
    -------
    CosineBasis
    """
    axes, squares = [], []
    for n, mm in zip(shape, spacing, strict=True):
        q = max(1, int(np.ceil(2 * n * mm / cutoff_mm)))
        axes.append(_cosines(np.arange(n), n, q))
        squares.append((np.pi * np.arange(q) / (n * mm)) ** 2)
    w2 = squares[0][:, None, None] + squares[1][None, :, None] + squares[2][None, None, :]
    precision = (stiffness**2 * w2) ** 2
    precision[0, 0, 0] = 1e12  # the constant belongs to the class means
    return CosineBasis((axes[0], axes[1], axes[2]), precision)


def _cosines(positions: np.ndarray, n: int, q: int) -> np.ndarray:
    angle = np.pi * (np.asarray(positions, float)[:, None] + 0.5) * np.arange(q)[None, :] / n
    return np.cos(angle) * np.where(np.arange(q) == 0, 1.0, np.sqrt(2.0))


def newton_step(
    basis: CosineBasis, coefficients: np.ndarray, slope: np.ndarray, curvature: np.ndarray
) -> np.ndarray:
    """Change of the coefficients towards the maximum of log-likelihood plus log prior.

    Parameters
    ----------
    basis : CosineBasis
    coefficients : (q_0, q_1, q_2) float64 ndarray
    slope, curvature : (n_0, n_1, n_2) float64 ndarray
        Derivative of the log-likelihood by the log field at each lattice point, and its negative
        second derivative (not below zero); zero where there is no sample.

    Returns
    -------
    (q_0, q_1, q_2) float64 ndarray
    """
    gradient = basis.project(slope).ravel() - (basis.precision * coefficients).ravel()
    hessian = basis.normal_matrix(curvature)
    hessian[np.diag_indices_from(hessian)] += basis.precision.ravel()
    return np.linalg.solve(hessian, gradient).reshape(coefficients.shape)


def log_penalty(basis: CosineBasis, coefficients: np.ndarray) -> float:
    """Log prior of the coefficients up to a constant, nats."""
    return -0.5 * float((basis.precision * coefficients**2).sum())
