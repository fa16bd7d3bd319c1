"""How well a one-channel mixture describes its data: chi-square, Kolmogorov-Smirnov, QQ."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import kolmogorov
from scipy.stats import chi2

from gmmseg.checks import InputError
from gmmseg.mixture.model import Mixture
from gmmseg.mixture.univariate import cdf, quantile_function


@dataclass(frozen=True, slots=True)
class Goodness:
    """Result of a test that data come from a mixture.

    Attributes
    ----------
    statistic : float
    p_value : float
        For Kolmogorov-Smirnov that of a mixture known beforehand; a fitted one makes it
        too large.
    degrees_of_freedom : int
        Of the chi-square test; 0 for Kolmogorov-Smirnov.
    """

    statistic: float
    p_value: float
    degrees_of_freedom: int = 0


def chi_square(
    counts: np.ndarray,
    edges: np.ndarray,
    mixture: Mixture,
    *,
    n_fitted: int | None = None,
    least: float = 5.0,
) -> Goodness:
    """Pearson's test of binned data against the mixture's distribution function.

    Parameters
    ----------
    counts : (B,) array-like
    edges : (B + 1,) array-like
        Rising, image units. The outer bins also answer for what lies beyond them.
    mixture : Mixture
        Of one channel.
    n_fitted : int, optional
        Parameters that were fitted to these data; 3 K - 1 by default, 0 for a mixture that
        was known beforehand.
    least : float
        Neighbouring bins are joined until each expects at least this many.

    Returns
    -------
    Goodness

    Raises
    ------
    InputError
        If no degree of freedom is left.
    """
    counts = np.asarray(counts, dtype=np.float64)
    edges = np.asarray(edges, dtype=np.float64)
    if counts.ndim != 1 or edges.shape != (len(counts) + 1,) or not (np.diff(edges) > 0).all():
        raise InputError("chi_square needs (B,) counts and (B + 1,) edges that rise.")
    level = cdf(edges, mixture)
    level[0], level[-1] = 0.0, 1.0
    expected = counts.sum() * np.diff(level)
    observed, wanted = [0.0], [0.0]
    for seen, due in zip(counts, expected, strict=True):
        if wanted[-1] >= least:
            observed.append(0.0)
            wanted.append(0.0)
        observed[-1] += seen
        wanted[-1] += due
    if len(wanted) > 1 and wanted[-1] < least:
        observed[-2:], wanted[-2:] = [sum(observed[-2:])], [sum(wanted[-2:])]
    fitted = 3 * mixture.n_components - 1 if n_fitted is None else n_fitted
    freedom = len(observed) - 1 - fitted
    if freedom < 1:
        raise InputError(
            f"{len(observed)} bins with enough voxels leave no degree of freedom beside "
            f"{fitted} fitted parameters; use more bins or more data."
        )
    due = np.array(wanted)
    statistic = float(np.sum(np.square(np.array(observed) - due) / due))
    return Goodness(statistic, float(chi2.sf(statistic, freedom)), freedom)


def kolmogorov_smirnov(
    values: np.ndarray, mixture: Mixture, *, sample_weight: np.ndarray | None = None
) -> Goodness:
    """Largest distance between the distribution functions of data and mixture.

    Parameters
    ----------
    values : (N,) array-like
        Image units; NaN is left out.
    mixture : Mixture
        Of one channel.
    sample_weight : (N,) array-like, optional
        How many voxels each value stands for.

    Returns
    -------
    Goodness
    """
    x, weight = _sorted(values, sample_weight)
    upper = np.cumsum(weight) / weight.sum()
    model = cdf(x, mixture)
    lower = np.concatenate([[0.0], upper[:-1]])
    statistic = float(max((upper - model).max(), (model - lower).max()))
    size = np.sqrt(weight.sum())
    return Goodness(statistic, float(kolmogorov((size + 0.12 + 0.11 / size) * statistic)))


def quantile_pairs(
    values: np.ndarray,
    mixture: Mixture,
    *,
    n_points: int = 100,
    sample_weight: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Quantiles of the mixture and of the data at the same levels, for a QQ plot.

    Returns
    -------
    of_mixture, of_data : (n_points,) ndarray, image units
    """
    x, weight = _sorted(values, sample_weight)
    levels = (np.arange(n_points) + 0.5) / n_points
    middle = (np.cumsum(weight) - 0.5 * weight) / weight.sum()
    return quantile_function(levels, mixture), np.interp(levels, middle, x)


def _sorted(values: np.ndarray, sample_weight: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    x = np.asarray(values, dtype=np.float64).ravel()
    weight = np.ones(len(x)) if sample_weight is None else np.asarray(sample_weight, dtype=float)
    if weight.shape != x.shape:
        raise InputError("sample_weight must hold one number for each value.")
    there = np.isfinite(x) & (weight > 0)
    if not there.any():
        raise InputError("there are no values to compare with the mixture.")
    order = np.argsort(x[there], kind="stable")
    return x[there][order], weight[there][order]
