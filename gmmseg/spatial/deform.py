"""Smooth displacement of the atlas on a coarse lattice, by regularised Gauss-Newton steps.

The displacement is a sum of cosines along each axis. Its energy is half the integral of
``membrane |grad u|^2 + bending |laplacian u|^2`` with Neumann borders, and each product of cosines
has its own share of it; a step solves (data Hessian + energy) by conjugate gradients, with those
shares for preconditioner.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numba import njit

from gmmseg.threads import spread

CUTOFF_MM = 8.0
"""Shortest wavelength of a displacement. Shorter ones cost more time than all others together."""


@dataclass(frozen=True, slots=True, eq=False)
class Elasticity:
    """Cosines that a displacement is a sum of, and how stiff it is along each.

    Fields are (3, n_0, n_1, n_2) float32 ndarrays in mm (or nats per mm), coefficients of fields
    (3, q_0, q_1, q_2) float32 ndarrays. The cosines are orthonormal, so that inner products of
    coefficients are those of fields.

    Attributes
    ----------
    axes : three (q_i, n_i) float32 ndarrays, the cosines along each axis
    eigenvalues : (q_0, q_1, q_2) float32 ndarray
        Stiffness of each product of cosines, nats per mm^2, alike for the three components.
    """

    axes: tuple[np.ndarray, np.ndarray, np.ndarray]
    eigenvalues: np.ndarray

    def field(self, coefficients: np.ndarray) -> np.ndarray:
        """Sum of the cosines."""
        x, y, z = self.axes
        return _across(y.T.copy(), _along(x.T.copy(), coefficients), z)

    def coefficients(self, field: np.ndarray) -> np.ndarray:
        """What a field has of each cosine."""
        x, y, z = self.axes
        return _along(x, _across(y, field, z.T.copy()))

    def slope(self, coefficients: np.ndarray) -> np.ndarray:
        """Gradient of the energy by the coefficients, nats per mm."""
        return self.eigenvalues * coefficients

    def energy(self, coefficients: np.ndarray) -> float:
        """Energy of a displacement, nats."""
        return 0.5 * _inner(self.slope(coefficients), coefficients)

    def step(
        self, coefficients: np.ndarray, score: np.ndarray, n_iter: int = 3, tol: float = 0.02
    ) -> np.ndarray:
        """Gauss-Newton change of a displacement.

        Parameters
        ----------
        coefficients : (3, q_0, q_1, q_2) float32 ndarray, of the displacement, mm
        score : (3, n_0, n_1, n_2) float32 ndarray, nats per mm
            Gradient of the log-likelihood by the displacement at each lattice point, zero where
            there is no sample; the data Hessian is its outer product.
        n_iter : int, conjugate gradient iterations at most
        tol : float, stop once the preconditioned residual fell to this fraction

        Returns
        -------
        (3, q_0, q_1, q_2) float32 ndarray, mm
        """
        stiffness = (score**2).mean() + 1e-12
        preconditioner = 1 / (self.eigenvalues + stiffness)
        residual = self.coefficients(score) - self.slope(coefficients)
        direction = z = preconditioner * residual
        rz = start = _inner(residual, z)
        out = np.zeros_like(residual)
        if start == 0:  # at the maximum already
            return out
        for _ in range(n_iter):
            image = self._hessian_times(direction, score)
            alpha = rz / _inner(direction, image)
            out += alpha * direction
            residual = residual - alpha * image
            z = preconditioner * residual
            new = _inner(residual, z)
            if new < tol**2 * start:
                break
            direction = z + (new / rz) * direction
            rz = new
        return out

    def cost_of_freedom(self, score: np.ndarray) -> float:
        """What a displacement that could have been any other costs the evidence, nats.

        Laplace's approximation, half the log determinant of 1 + data Hessian / energy, with the
        mean of the Hessian in place of the Hessian: no less than that where there are as many
        cosines as lattice points (Hadamard's inequality). Directions that the data say nothing
        about cost nothing.

        Parameters
        ----------
        score : (3, n_0, n_1, n_2) float32 ndarray, nats per mm, as :meth:`step` takes it

        Returns
        -------
        float, not negative

        References
        ----------
        MacKay (1992), doi 10.1162/neco.1992.4.3.415, section 2: the Occam factor.
        """
        stiffness = (score**2).mean(axis=(1, 2, 3), dtype=np.float64)
        return 0.5 * float(np.log1p(np.divide.outer(stiffness, self.eigenvalues)).sum())

    def _hessian_times(self, coefficients: np.ndarray, score: np.ndarray) -> np.ndarray:
        x, y, z = self.axes
        planes = _along(x.T.copy(), coefficients)
        pulled = np.empty_like(planes)
        spread(_pull, planes.shape[1], planes, score, y, y.T.copy(), z, z.T.copy(), pulled)
        image = _along(x, pulled)
        image += self.slope(coefficients)
        return image


@njit(cache=True, nogil=True)
def _products(
    first: int, stop: int, matrix: np.ndarray, stacks: np.ndarray, out: np.ndarray
) -> None:
    half = (len(matrix) + 1) // 2
    for task in range(first, stop):
        a, low = task % 3, task // 3 * half
        np.dot(matrix[low : low + half], stacks[a], out[a, low : low + half])


def _along(matrix: np.ndarray, stacks: np.ndarray) -> np.ndarray:
    """(3, q, ., .): each of three (n, ., .) stacks times a (q, n) matrix."""
    _, n, rows, columns = stacks.shape
    out = np.empty((3, len(matrix), rows * columns), np.float32)
    spread(_products, 6, matrix, stacks.reshape(3, n, -1), out)  # six for any number of threads
    return out.reshape(3, len(matrix), rows, columns)


@njit(cache=True, nogil=True)
def _sandwiched(
    first: int,
    stop: int,
    left: np.ndarray,
    planes: np.ndarray,
    right: np.ndarray,
    out: np.ndarray,
) -> None:
    for i in range(first, stop):
        for a in range(3):
            np.dot(np.dot(left, planes[a, i]), right, out[a, i])


def _across(left: np.ndarray, planes: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Each plane of a (3, n, ., .) stack times a matrix on either side."""
    n = planes.shape[1]
    out = np.empty((3, n, len(left), right.shape[1]), np.float32)
    spread(_sandwiched, n, left, planes, right, out)
    return out


@njit(cache=True, nogil=True)
def _pull(
    first: int,
    stop: int,
    planes: np.ndarray,
    score: np.ndarray,
    y: np.ndarray,
    y_t: np.ndarray,
    z: np.ndarray,
    z_t: np.ndarray,
    out: np.ndarray,
) -> None:
    """Outer product of the score of each point with itself, applied to the field of the planes.

    Plane by plane, which stays in the cache from the planes to the field and back.
    """
    for i in range(first, stop):
        field = np.empty((3, len(y_t), z.shape[1]), np.float32)
        for a in range(3):
            np.dot(np.dot(y_t, planes[a, i]), z, field[a])
        for j in range(field.shape[1]):
            for k in range(field.shape[2]):
                along = np.float32(0.0)
                for a in range(3):
                    along += score[a, i, j, k] * field[a, j, k]
                for a in range(3):
                    field[a, j, k] = along * score[a, i, j, k]
        for a in range(3):
            np.dot(y, np.dot(field[a], z_t), out[a, i])


@njit(cache=True, nogil=True)
def _displace(
    first: int,
    stop: int,
    base: np.ndarray,
    field: np.ndarray,
    where: np.ndarray,
    to_voxel: np.ndarray,
    out: np.ndarray,
) -> None:
    for n in range(first, stop):
        x, y, z = field[0, where[n]], field[1, where[n]], field[2, where[n]]
        for a in range(3):
            out[n, a] = base[n, a] + to_voxel[a, 0] * x + to_voxel[a, 1] * y + to_voxel[a, 2] * z


def displaced(
    base: np.ndarray, field: np.ndarray, where: np.ndarray, to_voxel: np.ndarray
) -> np.ndarray:
    """Atlas voxel coordinates of samples under a displacement.

    Parameters
    ----------
    base : (N, 3) ndarray, coordinates before it
    field : (3, P) float32 ndarray, displacement of all lattice points, mm
    where : (N,) int64 ndarray, lattice point of each sample
    to_voxel : (3, 3) ndarray, atlas voxels per mm

    Returns
    -------
    (N, 3) ndarray of the dtype of ``base``
    """
    out = np.empty_like(base)
    spread(_displace, len(where), base, field, where, to_voxel, out)
    return out


@njit(cache=True, nogil=True)
def _pull_back(
    first: int,
    stop: int,
    by_voxel: np.ndarray,
    where: np.ndarray,
    to_voxel: np.ndarray,
    out: np.ndarray,
) -> None:
    for n in range(first, stop):
        x, y, z = by_voxel[n, 0], by_voxel[n, 1], by_voxel[n, 2]
        for a in range(3):
            out[a, where[n]] = x * to_voxel[0, a] + y * to_voxel[1, a] + z * to_voxel[2, a]


def pulled_back(
    by_voxel: np.ndarray, where: np.ndarray, to_voxel: np.ndarray, out: np.ndarray
) -> None:
    """Slopes by the atlas coordinates of samples as slopes by the displacement of lattice points.

    Parameters
    ----------
    by_voxel : (N, 3) float64 ndarray, nats per atlas voxel
    where : (N,) int64 ndarray, lattice point of each sample
    to_voxel : (3, 3) ndarray, atlas voxels per mm
    out : (3, P) float32 ndarray, nats per mm; written at those points
    """
    spread(_pull_back, len(where), by_voxel, where, to_voxel, out)


def _inner(a: np.ndarray, b: np.ndarray) -> float:
    return float((a * b).sum())


def elasticity(
    shape: Sequence[int],
    spacing: Sequence[float] | np.ndarray,
    *,
    membrane: float,
    bending: float,
    cutoff_mm: float = CUTOFF_MM,
) -> Elasticity:
    """Stiffness of a displacement lattice.

    Parameters
    ----------
    shape : (3,) int, points of the lattice along each axis
    spacing : (3,) float, mm
    membrane : float
        Cost of the squared slope of the displacement, nats per lattice point.
    bending : float
        Cost of its squared Laplacian, nats mm^2 per lattice point.
    cutoff_mm : float
        Shortest wavelength, mm; two points are the shortest that a lattice can have.

    Returns
    -------
    Elasticity; a constant displacement costs next to nothing, since the affine fit is unsure too

    References
    ----------
    Ashburner & Friston (2005), doi 10.1016/j.neuroimage.2005.02.018, section on the deformation
    prior; the eigenvalues are those of the seven-point Laplacian with Neumann borders.
    """
    axes, squares = [], []
    for n, mm in zip(shape, spacing, strict=True):
        q = min(n, int(np.ceil(2 * n * mm / cutoff_mm)))
        angle = np.pi * np.arange(q)[:, None] / n
        norm = np.sqrt(np.where(np.arange(q) == 0, 1.0, 2.0) / n)[:, None]
        axes.append((norm * np.cos(angle * (np.arange(n) + 0.5))).astype(np.float32))
        squares.append((2 - 2 * np.cos(angle[:, 0])) / mm**2)
    w2 = squares[0][:, None, None] + squares[1][None, :, None] + squares[2][None, None, :]
    eigenvalues = (membrane * w2 + bending * w2**2 + 1e-4).astype(np.float32)
    return Elasticity((axes[0], axes[1], axes[2]), eigenvalues)
