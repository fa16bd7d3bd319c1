r"""Mixtures on histograms: millions of voxels as a few hundred weighted bins.

Replacing values by bin centres adds :math:`w^2/12` to every variance (Sheppard). The
correction here is a model: a centre is the value plus rounding noise of that variance. Its
maximum likelihood is that of plain EM on the centres, less the noise at the end.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from gmmseg.bins import told_apart
from gmmseg.checks import InputError
from gmmseg.mixture import em, kernels
from gmmseg.mixture.levels import count_bins, count_levels
from gmmseg.mixture.model import Mixture
from gmmseg.mixture.start import quantile
from gmmseg.mixture.univariate import cdf, classify, cuts, posteriors, quantile_function

__all__ = [
    "cdf",
    "classify",
    "cuts",
    "fit_histogram",
    "posteriors",
    "quantile_function",
    "weighted_bins",
]

_MOST_LEVELS = 2**16
_LARGEST = 1e150  # whose square is a number still


def weighted_bins(samples: np.ndarray, n_bins: int = 256) -> tuple[np.ndarray, np.ndarray]:
    """Values of one channel as bins with counts.

    Parameters
    ----------
    samples : (N,) or (N, 1) array-like, or an image of one channel of any shape
        Image units; NaN is left out.
    n_bins : int
        Number of equal bins from the smallest value to the largest. Whole numbers that span
        no more than 65,536 levels are exempt: each gets its own bin, whatever their dtype.

    Returns
    -------
    centres : (B, 1) ndarray
        int64 where each bin is one value exactly, else float64 bin centres. Empty bins are
        left out.
    counts : (B,) float64 ndarray

    Raises
    ------
    InputError
        If no finite value is left or a value is infinite.

    Examples
    --------
    >>> centres, counts = weighted_bins([3, 5, 5, 9])
    >>> centres.ravel(), counts
    (array([3, 5, 9]), array([1., 2., 1.]))
    """
    x = np.asarray(samples).ravel()
    if x.dtype.kind == "b":
        x = x.astype(np.uint8)
    if x.dtype.kind == "f":
        if x.dtype not in (np.float32, np.float64):
            x = x.astype(np.float64)
        low, high = _range(x)
        if np.isnan(low):
            x = x[~np.isnan(x)]
            low, high = _range(x)
    elif x.dtype.kind in "iu":
        low, high = _range(x)
    else:
        raise InputError(f"samples must be numbers; got dtype {x.dtype}.")
    if not np.isfinite(high - low):
        raise InputError("samples hold infinite values; set them to NaN to leave them out.")
    exact = told_apart(float(low), float(high))
    if exact and high - low < _MOST_LEVELS and (x.dtype.kind in "iu" or kernels.all_whole(x)):
        base = int(low)
        counts = count_levels(x, base, int(high) - base + 1)
        used = np.flatnonzero(counts)
        return (used + base)[:, None], counts[used].astype(np.float64)
    if low == high:
        return np.array([[low]]), np.array([float(len(x))])
    check_bins(float(low), float(high), n_bins)
    counts = count_bins(x, low, high, n_bins)
    edges = np.linspace(low, high, n_bins + 1)
    used = np.flatnonzero(counts)
    centres = 0.5 * (edges[:-1] + edges[1:])
    return centres[used, None], counts[used].astype(np.float64)


def check_bins(low: float, high: float, n_bins: int) -> None:
    """Raise InputError where values from ``low`` to ``high`` cannot be parted into equal bins."""
    largest = max(abs(low), abs(high))
    if largest > _LARGEST or high - low < 1 / _LARGEST:
        raise InputError(
            f"Intensities run from {low:.4g} to {high:.4g}, so that their squares leave the range "
            f"of numbers; scale them to between 0 and 1000 or so."
        )
    if (high - low) / n_bins < 2 * np.spacing(largest):
        raise InputError(
            f"Intensities lie between {low:.17g} and {high:.17g}, too close together for numbers "
            f"of that size to tell {n_bins} bins apart; subtract {low:.4g} or so from all of them."
        )


def fit_histogram(
    counts: np.ndarray,
    centres: np.ndarray | None = None,
    n_components: int | None = None,
    *,
    edges: np.ndarray | None = None,
    start: Mixture | None = None,
    width: float | None = None,
    variance_prior: em.VariancePrior | None = None,
    covariance_type: str = "full",
    max_iter: int = 1000,
    tol: float = 1e-8,
) -> em.Fit:
    r"""Fit a mixture to a histogram.

    Parameters
    ----------
    counts : (B,) array-like, or (B1, B2) for two channels
        Voxels in each bin; zero or more.
    centres : (B,) or (B, 1) array-like, or a pair of them for two channels
        Bin centres in image units, rising. An integer dtype says that each bin holds that
        one value, and nothing is corrected. Empty bins may be left out.
    n_components : int, optional
        Give this, for a quantile start, or ``start``.
    edges : (B + 1,) array-like, or a pair of them, optional
        Bin edges, in place of ``centres``; all bins equally wide.
    start : Mixture, optional
    width : float, optional
        Bin width in image units; zero means that values are exact. By default the smallest
        spacing of float centres or edges, and zero for integer centres.
    variance_prior : VariancePrior, optional
    covariance_type : str
        ``V`` (each component its variance) or ``E`` (all the same), by any of their names;
        for two channels any model of :func:`gmmseg.mixture.covariance.model_name`.
    max_iter, tol
        As for :func:`gmmseg.mixture.em.fit`.

    Returns
    -------
    em.Fit
        Components rise by mean. ``objective`` is the log density of bin centres, in nats
        per voxel; variances are less :math:`w^2/12` and at least that much.

    Raises
    ------
    InputError
        If shapes do not fit, counts are negative or all zero, or there are fewer bins than
        components.

    Examples
    --------
    >>> rng = np.random.default_rng(1)
    >>> values = np.concatenate([rng.normal(30, 5, 4000), rng.normal(80, 8, 6000)])
    >>> centres, counts = weighted_bins(values)
    >>> mixture = fit_histogram(counts, centres, 2).mixture
    >>> mixture.means.ravel().round(), mixture.weights.round(2)
    (array([30., 80.]), array([0.4, 0.6]))
    """
    counts = np.asarray(counts, dtype=np.float64)
    if counts.ndim != 2 or counts.shape[1] == 1:
        counts = counts.ravel()
    axes = _axes(counts, centres, edges, width)
    if not np.isfinite(counts).all() or (counts < 0).any() or not counts.sum() > 0:
        raise InputError("counts must be finite, not negative, and not all zero.")
    used = np.nonzero(counts)
    weight = counts[used]
    samples = np.stack([axis[index] for (axis, _), index in zip(axes, used, strict=True)], axis=1)
    if start is None:
        if n_components is None:
            raise InputError("fit_histogram needs n_components or start.")
        start = quantile(samples, n_components, sample_weight=weight)
    noise = np.array([each**2 / 12 for _, each in axes])
    if variance_prior is None:
        # A component on one bin would have no variance: hold it at what a bin, or the gap
        # between two values, can resolve, with the weight of one voxel.
        gaps = [np.diff(axis).min() if len(axis) > 1 else 1.0 for axis, _ in axes]
        variance_prior = em.VariancePrior(floor=np.maximum(noise, np.square(gaps) / 12))
    result = em.fit(
        samples,
        start,
        sample_weight=weight,
        variance_prior=variance_prior,
        covariance_type=covariance_type,
        max_iter=max_iter,
        tol=tol,
    )
    mixture = result.mixture.relabelled()
    if noise.any():
        mixture = Mixture(mixture.weights, mixture.means, _less_noise(mixture.covariances, noise))
    empty = tuple(np.flatnonzero(mixture.weights <= 1e-12).tolist())
    return replace(result, mixture=mixture, empty=empty)


def _less_noise(covariances: np.ndarray, noise: np.ndarray) -> np.ndarray:
    """Covariances without the noise of rounding, and no narrower than that in any direction."""
    scale = np.sqrt(np.where(noise > 0, noise, 1.0))
    inner = covariances / scale[:, None] / scale - np.diag(noise > 0)
    spread, axes = np.linalg.eigh(inner)
    floor = 1.0 if (noise > 0).all() else np.minimum(spread, 1.0)
    inner = (axes * np.maximum(spread, floor)[:, None, :]) @ axes.transpose(0, 2, 1)
    return inner * scale[:, None] * scale


def _axes(
    counts: np.ndarray,
    centres: np.ndarray | None,
    edges: np.ndarray | None,
    width: float | None,
) -> list[tuple[np.ndarray, float]]:
    """Centres and bin width of each channel."""
    if (centres is None) == (edges is None):
        raise InputError("give either centres or edges of the bins.")
    if counts.ndim == 2:
        pair = centres if centres is not None else edges
        if len(pair) != 2:  # type: ignore[arg-type]
            raise InputError("counts of two channels need a pair of centres or edges.")
        if centres is not None:
            axes = [_centres(axis, None, width) for axis in centres]
        else:
            axes = [_centres(None, axis, width) for axis in pair]  # type: ignore[union-attr]
    else:
        axes = [_centres(centres, edges, width)]
    sizes = tuple(len(axis) for axis, _ in axes)
    if counts.shape != sizes:
        raise InputError(
            f"counts and centres must be equally long; got {counts.shape} and {sizes}."
        )
    return axes


def _centres(
    centres: np.ndarray | None, edges: np.ndarray | None, width: float | None
) -> tuple[np.ndarray, float]:
    if edges is not None:
        edges = np.asarray(edges, dtype=np.float64).ravel()
        steps = np.diff(edges)
        if len(edges) < 2 or not (steps > 0).all():
            raise InputError("edges must rise, and be at least two.")
        if np.ptp(steps) > 1e-6 * steps.max():
            raise InputError("edges must be equally spaced; bins of unequal width are not fitted.")
        return 0.5 * (edges[:-1] + edges[1:]), float(steps.mean()) if width is None else width
    array = np.asarray(centres).ravel()
    exact = array.dtype.kind in "iub"
    array = array.astype(np.float64)
    if not np.isfinite(array).all() or not (np.diff(array) > 0).all():
        raise InputError("centres must be finite and rise.")
    if width is None:
        width = 0.0 if exact or len(array) < 2 else float(np.diff(array).min())
    if not width >= 0:
        raise InputError(f"width must be zero or more; got {width}.")
    return array, width


def _range(x: np.ndarray) -> tuple[float, float]:
    """Smallest and largest value as Python numbers, whose difference cannot overflow."""
    if not x.size:
        raise InputError("samples hold no values; all are missing.")
    return x.min().item(), x.max().item()
