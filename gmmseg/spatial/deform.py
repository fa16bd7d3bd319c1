"""Smooth displacement of the atlas on a coarse lattice, by regularised Gauss-Newton steps.

The energy is half the integral of ``membrane |grad u|^2 + bending |laplacian u|^2`` with Neumann
borders, diagonal in the cosine transform; each step solves (data Hessian + energy) by conjugate
gradients preconditioned in that transform.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numba
import numpy as np
from numba import njit, prange
from scipy import fft


@dataclass(frozen=True, slots=True, eq=False)
class Elasticity:
    """Stiffness of a displacement lattice: eigenvalues of the energy in the cosine transform."""

    # (n_0, n_1, n_2, 3) nats per mm^2, alike for the three components: spreading them out each time
    # takes longer than the transform
    eigenvalues: np.ndarray

    def apply(self, field: np.ndarray) -> np.ndarray:
        """Energy gradient of ``field`` (n_0, n_1, n_2, 3), in nats per mm."""
        return _field(self.eigenvalues * _spectrum(field))

    def penalty(self, field: np.ndarray) -> float:
        """Energy of ``field`` (n_0, n_1, n_2, 3), nats."""
        spectrum = _spectrum(field)
        return 0.5 * _inner(self.eigenvalues * spectrum, spectrum)

    def step(
        self, displacement: np.ndarray, score: np.ndarray, n_iter: int = 6, tol: float = 0.02
    ) -> np.ndarray:
        """Gauss-Newton change of the displacement.

        Parameters
        ----------
        displacement : (n_0, n_1, n_2, 3) float32 ndarray, mm
        score : (n_0, n_1, n_2, 3) float32 ndarray, nats per mm
            Gradient of the log-likelihood by the displacement at each lattice point, zero where
            there is no sample; the data Hessian is its outer product.
        n_iter : int, conjugate gradient iterations at most
        tol : float, stop once the preconditioned residual fell to this fraction

        Returns
        -------
        (n_0, n_1, n_2, 3) float32 ndarray, mm
        """
        eigenvalues = self.eigenvalues
        stiffness = (score**2).mean() + 1e-12
        preconditioner = 1 / (eigenvalues + stiffness)
        # Residual and direction are kept as spectra, where energy and preconditioner are factors.
        residual = _spectrum(score) - eigenvalues * _spectrum(displacement)
        direction = z = preconditioner * residual
        rz = start = _inner(residual, z)
        out = np.zeros_like(score)
        if start == 0:  # at the maximum already
            return out
        for _ in range(n_iter):
            field = _field(direction)
            image = _spectrum(_outer(score, field))
            image += eigenvalues * direction
            alpha = rz / _inner(direction, image)
            out += alpha * field
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
        mean of the Hessian in place of the Hessian: no less than that (Hadamard's inequality in
        the cosine transform). Directions that the data say nothing about cost nothing.

        Parameters
        ----------
        score : (n_0, n_1, n_2, 3) float32 ndarray, nats per mm, as :meth:`step` takes it

        Returns
        -------
        float, not negative

        References
        ----------
        MacKay (1992), doi 10.1162/neco.1992.4.3.415, section 2: the Occam factor.
        """
        stiffness = (score**2).mean(axis=(0, 1, 2), dtype=np.float64)
        return 0.5 * float(np.log1p(stiffness / self.eigenvalues).sum())


@njit(cache=True, parallel=True, nogil=True)
def _outer(score: np.ndarray, field: np.ndarray) -> np.ndarray:
    """Outer product of the score of each lattice point with itself, applied to the field there."""
    out = np.empty_like(field)
    for i in prange(field.shape[0]):
        for j in range(field.shape[1]):
            for k in range(field.shape[2]):
                along = np.float32(0.0)
                for a in range(3):
                    along += score[i, j, k, a] * field[i, j, k, a]
                for a in range(3):
                    out[i, j, k, a] = along * score[i, j, k, a]
    return out


def _spectrum(field: np.ndarray) -> np.ndarray:
    """Orthonormal cosine transform of a field, component by component; keeps inner products."""
    return fft.dctn(field, axes=(0, 1, 2), norm="ortho", workers=numba.get_num_threads())


def _field(spectrum: np.ndarray) -> np.ndarray:
    return fft.idctn(
        spectrum, axes=(0, 1, 2), norm="ortho", type=2, workers=numba.get_num_threads()
    )


def _inner(a: np.ndarray, b: np.ndarray) -> float:
    return float((a * b).sum())


def elasticity(
    shape: Sequence[int],
    spacing: Sequence[float] | np.ndarray,
    *,
    membrane: float,
    bending: float,
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

    Returns
    -------
    Elasticity; a constant displacement costs next to nothing, since the affine fit is unsure too

    References
    ----------
    Ashburner & Friston (2005), doi 10.1016/j.neuroimage.2005.02.018, section on the deformation
    prior; the eigenvalues are those of the seven-point Laplacian with Neumann borders.
    """
    squares = [
        (2 - 2 * np.cos(np.pi * np.arange(n) / n)) / mm**2
        for n, mm in zip(shape, spacing, strict=True)
    ]
    w2 = squares[0][:, None, None] + squares[1][None, :, None] + squares[2][None, None, :]
    eigenvalues = (membrane * w2 + bending * w2**2 + 1e-4).astype(np.float32)
    return Elasticity(np.repeat(eigenvalues[..., None], 3, axis=-1))
