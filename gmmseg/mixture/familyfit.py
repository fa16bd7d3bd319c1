"""A fitted mixture of several families: densities, posteriors, boundaries, criteria."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from gmmseg.checks import InputError
from gmmseg.mixture.densities import (
    Bins,
    Family,
    Gaussian,
    Parameters,
    Poisson,
    Rayleigh,
    Rician,
    Uniform,
)
from gmmseg.mixture.noiselaw import PoissonGaussian

_GRID = 4096  # intervals among which boundaries are looked for

FAMILIES: dict[str, Family] = {
    one.name: one
    for one in (Gaussian(), Rayleigh(), Rician(), Poisson(), PoissonGaussian(), Uniform())
}


def families_of(names: Any) -> tuple[Family, ...]:
    """Families by their names, or InputError."""
    names = (names,) if isinstance(names, str) else tuple(names)
    wrong = [name for name in names if name not in FAMILIES]
    if wrong or not names:
        raise InputError(
            f"families must be some of {', '.join(FAMILIES)}; got {', '.join(map(repr, wrong))}."
        )
    return tuple(FAMILIES[name] for name in names)


@dataclass(frozen=True, slots=True, eq=False)
class FamilyFit:
    """A fitted mixture of several families and how it came about.

    Attributes
    ----------
    families : tuple of str, one for each of K components, in the order asked for
    weights : (K,) float64 ndarray, sum to one
    parameters : tuple of dict
        Of each component, by name; see :mod:`gmmseg.mixture.densities`.
    objective : (n_iter + 1,) float64 ndarray
        Log likelihood in nats per voxel: of the start, then after each iteration.
    converged : bool
    n_voxels : float
    n_parameters : int
    icl : float
        BIC plus twice the entropy of the posteriors: lower is better, and classes that
        overlap cost.
    low, high, spacing : float
        Extent of the values and least distance of bin centres, image units.
    """

    families: tuple[str, ...]
    weights: np.ndarray
    parameters: tuple[Parameters, ...]
    objective: np.ndarray
    converged: bool
    n_voxels: float
    n_parameters: int
    icl: float
    low: float
    high: float
    spacing: float

    @property
    def n_iter(self) -> int:
        """Iterations of EM."""
        return len(self.objective) - 1

    @property
    def bic(self) -> float:
        """Schwarz's criterion; lower is better."""
        fit = self.n_voxels * float(self.objective[-1])
        return self.n_parameters * float(np.log(self.n_voxels)) - 2 * fit

    @property
    def means(self) -> np.ndarray:
        """Mean of each component (K,), image units."""
        pairs = zip(self.families, self.parameters, strict=True)
        return np.array([FAMILIES[name].mean(one) for name, one in pairs])

    def log_density(self, values: np.ndarray) -> np.ndarray:
        """Log density of each value under each component.

        Parameters
        ----------
        values : (N,) array-like, image units

        Returns
        -------
        (N, K) float64 ndarray, nats; NaN where the value is
        """
        x = np.asarray(values, np.float64).ravel()
        bins = Bins(x, self.spacing, self.low, self.high)
        out = np.stack(
            [
                FAMILIES[name].log_density(bins, one)
                for name, one in zip(self.families, self.parameters, strict=True)
            ],
            axis=1,
        )
        out[np.isnan(x)] = np.nan
        return out

    def log_joint(self, values: np.ndarray) -> np.ndarray:
        """Log of weight times density: (N, K) for (N,) values, nats."""
        with np.errstate(divide="ignore"):
            return self.log_density(values) + np.log(self.weights)

    def posteriors(self, values: np.ndarray) -> np.ndarray:
        """Posterior of each component at each value: the shape of ``values``, then K.

        Where no component can be, posteriors are zero, as they are for NaN.
        """
        values = np.asarray(values)
        posterior, _ = responsibilities(_nowhere(self.log_joint(values)).T)
        return np.ascontiguousarray(posterior.T).reshape(*values.shape, len(self.weights))

    def classify(self, values: np.ndarray) -> np.ndarray:
        """Most probable component of each value: intp, in the shape of ``values``.

        -1 where the value is NaN or can come from no component.
        """
        values = np.asarray(values)
        joint = _nowhere(self.log_joint(values))
        best = joint.argmax(axis=1)
        return np.where(joint.max(axis=1) > -np.inf, best, -1).reshape(values.shape)

    def cuts(self) -> np.ndarray:
        """Where the most probable component changes, within the range of the values.

        Returns
        -------
        (M,) float64 ndarray, rising, image units
            To 1e-9 of the range. A class that is best on less than a 4096th of the range may
            be overlooked.
        """
        half = self.spacing / 2
        grid = np.linspace(self.low + half, self.high - half, _GRID + 1)
        label = self.classify(grid)
        at = np.flatnonzero(label[:-1] != label[1:])
        low, high, before = grid[at], grid[at + 1], label[at]
        for _ in range(20):
            middle = 0.5 * (low + high)
            same = self.classify(middle) == before
            low, high = np.where(same, middle, low), np.where(same, high, middle)
        return 0.5 * (low + high)


def responsibilities(joint: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Posteriors (K, B) of log joints (K, B) and log evidence (B,); zeros where none is finite."""
    top = joint.max(axis=0)
    posterior = np.exp(joint - np.where(np.isfinite(top), top, 0.0))
    total = posterior.sum(axis=0)
    with np.errstate(divide="ignore"):
        evidence = top + np.log(np.where(total > 0, total, 1.0))
    return posterior / np.where(total > 0, total, 1.0), evidence


def _nowhere(joint: np.ndarray) -> np.ndarray:
    """Log joints in which a missing value can come from no component."""
    return np.where(np.isnan(joint), -np.inf, joint)
