"""The prior that keeps covariances from collapsing."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gmmseg.checks import InputError
from gmmseg.mixture.moments import Terms


@dataclass(frozen=True, slots=True, eq=False)
class VariancePrior:
    r"""Inverse Wishart prior on each covariance: ``strength`` voxels of variance ``floor``.

    :math:`\log p(\Sigma) = -\tfrac{s}{2}\,[\log|\Sigma| + \mathrm{tr}(F \Sigma^{-1})]` up to a
    constant, with :math:`s` the strength and :math:`F = \mathrm{diag}(floor)`. No component
    can collapse onto a point: there the prior falls faster than the likelihood rises.

    Attributes
    ----------
    floor : float or (C,) array-like
        Variance the prior pulls to, image units squared; positive.
    strength : float
        How many voxels the prior is worth; positive.

    References
    ----------
    .. [1] Fraley & Raftery (2007), *J. Classification* 24, 155-181,
       doi 10.1007/s00357-007-0004-5.
    """

    floor: float | np.ndarray
    strength: float = 1.0

    def __post_init__(self) -> None:
        floor = np.asarray(self.floor, dtype=np.float64)
        if floor.ndim > 1 or not (np.isfinite(floor) & (floor > 0)).all():
            raise InputError(f"VariancePrior.floor must be positive; got {self.floor}.")
        if not (np.isfinite(self.strength) and self.strength > 0):
            raise InputError(f"VariancePrior.strength must be positive; got {self.strength}.")

    def scale(self, n_channels: int) -> np.ndarray:
        """What the prior adds to each scatter matrix, (C, C)."""
        floor = np.asarray(self.floor, dtype=np.float64)
        if floor.ndim == 1 and len(floor) != n_channels:
            raise InputError(
                f"VariancePrior.floor has {len(floor)} values for {n_channels} channels."
            )
        return self.strength * np.diag(np.broadcast_to(floor, n_channels))

    def log_density(self, terms: Terms) -> float:
        """Sum over components of log p, up to a constant, in nats."""
        squares = np.square(terms.roots)
        if terms.diagonal:
            log_dets, traces = np.log(terms.roots).sum(axis=1), squares
        else:
            log_dets = np.log(np.diagonal(terms.roots, axis1=1, axis2=2)).sum(axis=1)
            traces = squares.sum(axis=1)  # tr(F Sigma^-1) = sum_c F_c sum_i W_ic^2
        return float(
            (self.strength * log_dets).sum() - 0.5 * (traces * self.floor).sum() * self.strength
        )
