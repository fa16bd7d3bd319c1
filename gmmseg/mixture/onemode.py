"""Whether a histogram holds two classes at all, or one that a threshold would cut in half."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gmmseg.mixture.classes import ClassFit, Scale, coarsen, fit_classes
from gmmseg.mixture.classes_kernels import fit_bins

# A flat histogram, with no modes at all, is split into classes 3.0 standard deviations apart.
LEAST_SEPARATION = 3.1


@dataclass(frozen=True, slots=True)
class OneClassCheck:
    """One class against two.

    Attributes
    ----------
    one_class : bool
    separation : float
        Distance of the class means in standard deviations, on the scale of the fit.
    gain : float
        Log-likelihood of two classes over one Gaussian, the likelier of one on the scale of
        the fit and one on the linear scale, nats per voxel.
    """

    one_class: bool
    separation: float
    gain: float


def check_one_class(
    counts: np.ndarray, centres: np.ndarray, fit: ClassFit | None = None
) -> OneClassCheck:
    """Whether one class explains a histogram as well as two.

    Parameters
    ----------
    counts, centres : (B,) array-likes
        As for :func:`gmmseg.mixture.classes.fit_classes`.
    fit : ClassFit, optional
        Of two classes, if there is one already.

    Returns
    -------
    OneClassCheck
        One class where BIC prefers one Gaussian, or the two are less than 3.1 standard
        deviations apart: with a million voxels each skewed or flat-topped noise prefers two,
        but no noise with ordinary tails separates them so far.

    Notes
    -----
    Noise with tails as heavy as Student's t with 4 degrees of freedom passes for two classes:
    its outliers are told from a rare second class by nothing in the histogram.

    References
    ----------
    .. [1] Ashman, Bird & Zepf (1994), doi 10.1086/117248: the distance D.

    Examples
    --------
    >>> rng = np.random.default_rng(1)
    >>> levels, counts = np.unique(rng.poisson(3, 20000), return_counts=True)
    >>> check_one_class(counts, levels).one_class
    True
    """
    counts = np.asarray(counts, dtype=np.float64).ravel()
    centres = np.asarray(centres, dtype=np.float64).ravel()
    if np.count_nonzero(counts) < 2:
        return OneClassCheck(True, 0.0, 0.0)
    fit = fit_classes(counts, centres) if fit is None else fit
    n, levels = counts.sum(), np.count_nonzero(counts)
    counts, centres, edges = coarsen(counts, centres, 512)
    one = max(_one_gaussian(counts, centres, edges, scale) for scale in {fit.scale, Scale()})
    gain, separation = fit.log_likelihood - one, float(fit.separation[0])
    charge = 1.5 * np.log(n) / n  # BIC: a weight, a mean and a variance more
    alike = gain <= charge or separation < LEAST_SEPARATION
    return OneClassCheck(bool(alike and levels > 2), separation, float(gain))


def _one_gaussian(
    counts: np.ndarray, centres: np.ndarray, edges: np.ndarray, scale: Scale
) -> float:
    """Log-likelihood of one Gaussian on a scale, nats per voxel."""
    y, shares = scale.forward(centres), counts / counts.sum()
    mean = np.array([shares @ y])
    variance = np.maximum(np.array([shares @ (y - mean) ** 2]), 1e-12)
    _, likelihood, *_ = fit_bins(
        scale.forward(edges), shares, np.ones(1), mean, variance, 0.0, 1e-12, 300, 1e-8
    )
    return float(likelihood)
