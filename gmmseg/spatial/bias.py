"""Smooth log bias field in a separable cosine basis, solved inside the EM.

The corrected intensity is ``y exp(b(x))`` with ``b`` a sum of low-frequency cosines under a bending
energy prior (Ashburner & Friston 2005, doi 10.1016/j.neuroimage.2005.02.018, eqs 10-11).
"""

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

    def field(self, coefficients):
        """(n_0, n_1, n_2) log field of the coefficients."""
        x, y, z = self.axes
        return np.einsum("ip,jq,kr,pqr->ijk", x, y, z, coefficients, optimize=True)

    def project(self, weights):
        """Sum over the lattice of ``weights`` times each basis function."""
        x, y, z = self.axes
        return np.einsum("ip,jq,kr,ijk->pqr", x, y, z, weights, optimize=True)

    def normal_matrix(self, weights):
        """Gram matrix of the basis under ``weights`` (n_0, n_1, n_2), flattened to (Q, Q)."""
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

    def resampled(self, positions):
        """The same basis at other positions (three arrays of lattice indices)."""
        axes = tuple(_cosines(p, len(a), a.shape[1]) for p, a in zip(positions, self.axes, strict=True))
        return CosineBasis(axes, self.precision)


def cosine_basis(shape, spacing, cutoff_mm, stiffness):
    """Cosines with wavelengths down to ``cutoff_mm`` over a lattice of ``shape`` and ``spacing`` mm.

    ``stiffness`` (mm) sets the prior: a coefficient of spatial frequency w (rad/mm) has the standard
    deviation ``1 / (stiffness w)^2``.
    """
    axes, squares = [], []
    for n, mm in zip(shape, spacing, strict=True):
        q = max(1, int(np.ceil(2 * n * mm / cutoff_mm)))
        axes.append(_cosines(np.arange(n), n, q))
        squares.append((np.pi * np.arange(q) / (n * mm)) ** 2)
    w2 = squares[0][:, None, None] + squares[1][None, :, None] + squares[2][None, None, :]
    precision = (stiffness**2 * w2) ** 2
    precision[0, 0, 0] = 1e12  # the constant belongs to the class means
    return CosineBasis(tuple(axes), precision)


def _cosines(positions, n, q):
    angle = np.pi * (np.asarray(positions, float)[:, None] + 0.5) * np.arange(q)[None, :] / n
    return np.cos(angle) * np.where(np.arange(q) == 0, 1.0, np.sqrt(2.0))


def newton_step(basis, coefficients, slope, curvature):
    """Change of the coefficients towards the maximum of log-likelihood minus prior.

    ``slope`` and ``curvature`` (n_0, n_1, n_2) are the derivatives of the log-likelihood by the log
    field at each lattice point, zero where there is no sample.
    """
    gradient = basis.project(slope).ravel() - (basis.precision * coefficients).ravel()
    hessian = basis.normal_matrix(curvature)
    hessian[np.diag_indices_from(hessian)] += basis.precision.ravel()
    return np.linalg.solve(hessian, gradient).reshape(coefficients.shape)


def log_penalty(basis, coefficients):
    """Log prior of the coefficients up to a constant, nats."""
    return -0.5 * float((basis.precision * coefficients**2).sum())
