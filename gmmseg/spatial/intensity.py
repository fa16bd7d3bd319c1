"""What intensities each class of the head shows: Gaussians, fitted by exact EM on a fine grid.

Brain tissues have one Gaussian each, with variances drawn towards a common one. With one variance
the border between two tissues lies midway between their means, where a mixed voxel holds as much
of one as of the other; free variances let the grey class, widened by its mixed voxels, push into
white matter.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numba import njit

from gmmseg.mixture.pooled import class_averages, class_spreads
from gmmseg.threads import spread

N_GRID = 2048
NOTHING = -200.0  # a log density, less its scale, that no sample has
STRAY = 1e-3  # chance that a voxel called outside by a mask is brain after all
TINY = 1e-6  # samples: a Gaussian with fewer stays where it is
SPARE = 1e-3  # samples that every Gaussian has besides its own, so that no weight becomes 0


@dataclass(frozen=True, slots=True, eq=False)
class IntensityModel:
    """Gaussian components of every class.

    Attributes
    ----------
    owner : (M,) int64 ndarray, class of each component
    weights : (M,) float64 ndarray, sums to one within each class
    means : (M,) float64 ndarray, image units
    group : (M,) int64 ndarray, which variance each component has
    group_variances : (G,) float64 ndarray, image units squared
    """

    owner: np.ndarray
    weights: np.ndarray
    means: np.ndarray
    group: np.ndarray
    group_variances: np.ndarray

    @property
    def variances(self) -> np.ndarray:
        """(M,) component variances, image units squared."""
        return self.group_variances[self.group]

    def class_means(self, n_classes: int) -> np.ndarray:
        """(K,) mean of each class over its Gaussians, image units; NaN if it has none."""
        return class_averages(self.means, self.weights, self.owner, n_classes)

    def class_variances(self, n_classes: int) -> np.ndarray:
        """(K,) variance of each class within its Gaussians, image units squared; NaN without one.

        How far apart its Gaussians lie is tissue, not noise, and does not count.
        """
        return class_averages(self.variances, self.weights, self.owner, n_classes)

    def class_spreads(self, n_classes: int) -> np.ndarray:
        """(K,) standard deviation of each class as a whole, image units; NaN without a Gaussian."""
        return class_spreads(self.means, self.variances, self.weights, self.owner, n_classes)


@dataclass(frozen=True, slots=True, eq=False)
class IntensityPrior:
    """Priors of means (Gaussian) and variances (inverse gamma), each worth a number of samples.

    Weights have a Dirichlet prior that is worth ``SPARE`` samples each.

    Attributes
    ----------
    means : (M,) float64 ndarray, image units
    mean_samples : (M,) float64 ndarray
    caps : (M,) bool ndarray, whether a mean is held from above alone: below, nothing pulls at it
    variances : (G,) float64 ndarray, image units squared
    variance_samples : float
    n_tied : int
        The first ``n_tied`` variances are drawn from one inverse gamma whose centre is estimated.
    tie_samples : float
    """

    means: np.ndarray
    mean_samples: np.ndarray
    caps: np.ndarray
    variances: np.ndarray
    variance_samples: float
    n_tied: int
    tie_samples: float

    def log_density(self, model: IntensityModel) -> float:
        """Log prior of the parameters of ``model``, nats, up to a constant."""
        v = model.group_variances
        spread = (
            -self.variance_samples * (np.log(v / self.variances) + self.variances / v - 1).sum()
        )
        tied = v[: self.n_tied]
        spread -= self.tie_samples * np.log(tied / self.centre(v)).sum()
        distance = model.means - self.means
        distance = np.where(self.caps, np.maximum(distance, 0.0), distance)
        pull = self.mean_samples / self.variances[model.group]
        weights = SPARE * np.log(model.weights).sum()
        return float(weights + spread - 0.5 * (pull * distance**2).sum())

    def centre(self, variances: np.ndarray) -> float:
        """Best common centre of the tied variances: their harmonic mean."""
        return float(1 / np.mean(1 / variances[: self.n_tied]))


def starting_model(
    values: np.ndarray,
    prior: np.ndarray,
    outside: np.ndarray,
    quantiles: Sequence[tuple[float, ...]],
    n_tied: int,
) -> IntensityModel:
    """Start from the values that the prior gives to each class.

    Parameters
    ----------
    values : (N,) float64 ndarray
    prior : (N, K) ndarray
    outside : (N,) bool ndarray, samples whose value is not looked at
    quantiles : sequence of K tuples
        Quantiles of its class at which each Gaussian starts; none for a class without a value.
    n_tied : int
        The first ``n_tied`` classes (tissues, one Gaussian each) start from one variance.

    Returns
    -------
    IntensityModel
    """
    order = np.argsort(values, kind="stable")
    means: list[float] = []
    spreads: list[float] = []
    for k, levels in enumerate(quantiles):
        if not levels:
            continue
        w = np.where(outside, 0.0, prior[:, k]) ** 2  # squared: voxels that are mostly this class
        w += 1e-12
        cumulative = np.cumsum(w[order]) / w.sum()
        means += list(np.interp(levels, cumulative, values[order]))
        spread = np.average((values - np.average(values, weights=w)) ** 2, weights=w)
        spreads += [0.5 * spread / len(levels) ** 2] * len(levels)
    owner = np.repeat(np.arange(len(quantiles)), [len(levels) for levels in quantiles])
    tied = owner < n_tied
    variances = np.array(spreads)
    return IntensityModel(
        owner=owner,
        weights=1 / np.bincount(owner)[owner],
        means=np.array(means),
        group=np.arange(len(owner)),
        group_variances=np.where(tied, variances[tied].min(), variances),
    )


@dataclass(frozen=True, slots=True, eq=False)
class IntensityTable:
    """Densities of a model on a fixed grid of intensities.

    Intensities are rounded to this grid wherever the model is fitted, so that the fit is exact EM
    on the rounded values and costs one look-up a class, not one exponential a component.

    Attributes
    ----------
    low, width : float, first grid value and step, image units
    density : (B, K) float64 ndarray, density of each class
    component : (B, M) float64 ndarray, weighted density of each component
    model : IntensityModel, that was tabulated
    """

    low: float
    width: float
    density: np.ndarray
    component: np.ndarray
    model: IntensityModel

    @property
    def grid(self) -> np.ndarray:
        """(B,) intensities of the grid."""
        return self.low + self.width * np.arange(len(self.density))

    @property
    def slope(self) -> np.ndarray:
        """(B, K) ``sum_c density_c g_c``, g the derivative of ``log density_c`` by log intensity.

        Like the curvature it is made when it is asked for, which few E-steps are followed by.
        """
        y, m, v = self.grid[:, None], self.model.means, self.model.variances
        return self._by_class(self.component * (m - y) * y / v)

    @property
    def curvature(self) -> np.ndarray:
        """(B, K) the same with the expected negative second derivative in place of g."""
        y, v = self.grid[:, None], self.model.variances
        return self._by_class(self.component * y * y / v)

    def _by_class(self, values: np.ndarray) -> np.ndarray:
        """(B, K) sums over the components of each class of (B, M) values."""
        return np.asarray(values @ _members(self.model, self.density.shape[1]))

    @property
    def rows(self) -> np.ndarray:
        """(B + 1, K) densities; the last row is for samples known to lie outside the brain.

        Their value is not looked at; with any class but the last they have a density of ``STRAY``.
        """
        known = np.full((1, self.density.shape[1]), STRAY)
        known[0, -1] = 1.0
        return np.concatenate([self.density, known])


def tabulate(
    model: IntensityModel, low: float, high: float, floor: np.ndarray, n_grid: int = N_GRID
) -> IntensityTable:
    """Tabulate a model between ``low`` and ``high``; ``floor`` (K,) is added to each density."""
    width = (high - low) / (n_grid - 1)
    density, component = np.empty((n_grid, len(floor))), np.empty((n_grid, len(model.owner)))
    spread(
        _densities, n_grid, low, width, model.owner, model.weights, model.means, model.variances,
        np.asarray(floor, np.float64), component, density,
    )  # fmt: skip
    return IntensityTable(low, width, density, component, model)


@njit(cache=True, nogil=True)
def _densities(
    first: int,
    stop: int,
    low: float,
    width: float,
    owner: np.ndarray,
    weights: np.ndarray,
    means: np.ndarray,
    variances: np.ndarray,
    floor: np.ndarray,
    component: np.ndarray,
    density: np.ndarray,
) -> None:
    scale = np.sqrt(2 * np.pi * variances)
    for b in range(first, stop):
        y = low + width * b
        for k in range(len(floor)):
            density[b, k] = 0.0
        for m in range(len(owner)):
            exponent = -0.5 * (y - means[m]) ** 2 / variances[m]
            value = 0.0
            if not exponent < NOTHING:  # NaN goes on
                value = weights[m] * np.exp(exponent) / scale[m]
                if value < 1e-30:  # denormal numbers are slow
                    value = 0.0
            component[b, m] = value
            density[b, owner[m]] += value
        for k in range(len(floor)):
            density[b, k] += floor[k]


def _members(model: IntensityModel, n_classes: int) -> np.ndarray:
    """(M, K) one where a component is of a class."""
    return np.equal.outer(model.owner, np.arange(n_classes)).astype(np.float64)


def component_sums(model: IntensityModel, table: IntensityTable, counts: np.ndarray) -> np.ndarray:
    """(M, 3) sums of responsibilities r, r y and r y^2 over the grid; y in image units.

    ``counts`` (K, B) has the responsibility of each class in each bin, from the E-step of which
    ``table`` has the densities; a component has its share of its class.
    """
    sums = np.zeros((len(model.owner), 3))
    _sum(table.low, table.width, model.owner, table.component, table.density, counts, sums)
    return sums


@njit(cache=True, nogil=True)
def _sum(
    low: float,
    width: float,
    owner: np.ndarray,
    component: np.ndarray,
    density: np.ndarray,
    counts: np.ndarray,
    sums: np.ndarray,
) -> None:
    for b in range(len(density)):
        y = low + width * b
        for m in range(len(owner)):
            k = owner[m]
            r = counts[k, b] * (component[b, m] / max(density[b, k], 1e-300))
            sums[m, 0] += r
            sums[m, 1] += r * y
            sums[m, 2] += r * y * y


def maximise(model: IntensityModel, sums: np.ndarray, prior: IntensityPrior) -> IntensityModel:
    """M-step from the sums of one E-step: weights, then means, then variances, each in closed form.

    Each is the maximum given the others, so no step lowers the penalised likelihood (ECM, Meng &
    Rubin 1993).
    """
    n, s1, s2 = sums.T
    weights = (n + SPARE) / np.bincount(model.owner, weights=n + SPARE)[model.owner]
    pull = prior.mean_samples / prior.variances[model.group]
    pull = np.where(prior.caps & (s1 <= n * prior.means), 0.0, pull)
    # Counted in samples: a number of its own beside 1 / variance would depend on the unit.
    held = pull * model.variances
    means = (s1 + held * prior.means) / np.maximum(n + held, TINY)
    means = np.where(n + held > TINY, means, model.means)
    residual = np.bincount(model.group, weights=s2 - 2 * means * s1 + means**2 * n)
    count = np.bincount(model.group, weights=n)
    strength = 2 * prior.variance_samples
    above, below = residual + strength * prior.variances, count + strength
    above[: prior.n_tied] += 2 * prior.tie_samples * prior.centre(model.group_variances)
    below[: prior.n_tied] += 2 * prior.tie_samples
    variances = above / below
    return replace(model, weights=weights, means=means, group_variances=variances)
