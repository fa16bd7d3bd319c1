r"""One-channel mixtures on histograms: millions of voxels as a few hundred weighted bins.

Replacing values by bin centres adds :math:`w^2/12` to every variance (Sheppard). The
correction here is a model: a centre is the value plus rounding noise of that variance. Its
maximum likelihood is that of plain EM on the centres, less the noise at the end.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from scipy.optimize import brentq

from gmmseg.checks import InputError
from gmmseg.mixture import em
from gmmseg.mixture.model import Mixture
from gmmseg.mixture.start import quantile

_MOST_LEVELS = 2**16


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
        low, high = _range(x)
        missing = np.isnan(high - low)
        if missing:
            x = x[~np.isnan(x)]
            low, high = _range(x)
    elif x.dtype.kind in "iu":
        low, high = _range(x)
    else:
        raise InputError(f"samples must be numbers; got dtype {x.dtype}.")
    if not np.isfinite(high - low):
        raise InputError("samples hold infinite values; set them to NaN to leave them out.")
    if high - low < _MOST_LEVELS and (x.dtype.kind in "iu" or _whole(x)):
        base = int(low)
        counts = _count_levels(x, base, int(high) - base + 1)
        used = np.flatnonzero(counts)
        return (used + base)[:, None], counts[used].astype(np.float64)
    counts, edges = np.histogram(x, bins=n_bins, range=(float(low), float(high)))
    used = np.flatnonzero(counts)
    centres = 0.5 * (edges[:-1] + edges[1:])
    return centres[used, None], counts[used].astype(np.float64)


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
    counts : (B,) array-like
        Voxels in each bin; zero or more.
    centres : (B,) or (B, 1) array-like
        Bin centres in image units, rising. An integer dtype says that each bin holds that
        one value, and nothing is corrected. Empty bins may be left out.
    n_components : int, optional
        Give this, for a quantile start, or ``start``.
    edges : (B + 1,) array-like, optional
        Bin edges, in place of ``centres``; all bins equally wide.
    start : Mixture, optional
    width : float, optional
        Bin width in image units; zero means that values are exact. By default the smallest
        spacing of float centres or edges, and zero for integer centres.
    variance_prior : VariancePrior, optional
    covariance_type : str
        ``V`` (each component its variance) or ``E`` (all the same), by any of their names.
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
    counts = np.asarray(counts, dtype=np.float64).ravel()
    centres, width = _centres(centres, edges, width)
    if counts.shape != centres.shape:
        raise InputError(
            f"counts and centres must be equally long; got {len(counts)} and {len(centres)}."
        )
    if not np.isfinite(counts).all() or (counts < 0).any() or not counts.sum() > 0:
        raise InputError("counts must be finite, not negative, and not all zero.")
    used = counts > 0
    samples, weight = centres[used, None], counts[used]
    if start is None:
        if n_components is None:
            raise InputError("fit_histogram needs n_components or start.")
        start = quantile(samples, n_components, sample_weight=weight)
    noise = width**2 / 12
    if variance_prior is None:
        # A component on one bin would have no variance: hold it at what a bin, or the gap
        # between two values, can resolve, with the weight of one voxel.
        gap = np.diff(samples[:, 0]).min() if len(samples) > 1 else 1.0
        variance_prior = em.VariancePrior(floor=max(noise, gap**2 / 12))
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
    if noise:
        variances = np.maximum(mixture.covariances - noise, noise)
        mixture = Mixture(mixture.weights, mixture.means, variances)
    empty = tuple(np.flatnonzero(mixture.weights <= 1e-12).tolist())
    return replace(result, mixture=mixture, empty=empty)


def cuts(mixture: Mixture) -> np.ndarray:
    """Bayes decision boundaries: where the most probable component changes.

    Parameters
    ----------
    mixture : Mixture
        Of one channel.

    Returns
    -------
    (M,) float64 ndarray, rising, image units
        All of them: two for a component nested in a wider one, none around a component
        that is nowhere the most probable.

    References
    ----------
    .. [1] Duda, Hart & Stork (2001), *Pattern Classification*, section 2.6.

    Examples
    --------
    >>> cuts(Mixture([0.5, 0.5], [[0.0], [4.0]], [[[1.0]], [[1.0]]]))
    array([2.])
    >>> cuts(Mixture([0.5, 0.5], [[0.0], [0.0]], [[[1.0]], [[9.0]]])).round(3)
    array([-1.572,  1.572])
    """
    _one_channel(mixture)
    on = np.flatnonzero(mixture.weights > 0)
    means, variances = mixture.means[on, 0], mixture.covariances[on, 0, 0]
    constants = np.log(mixture.weights[on]) - 0.5 * np.log(variances)
    candidates: list[float] = []
    for i in range(len(on)):
        for j in range(i):
            # constants - (x - mean)^2 / (2 variance) equal for both: a quadratic in x - middle
            middle = 0.5 * (means[i] + means[j])
            a, b = means[i] - middle, means[j] - middle
            quadratic = 0.5 / variances[j] - 0.5 / variances[i]
            linear = a / variances[i] - b / variances[j]
            constant = (
                constants[i] - constants[j] + 0.5 * b * b / variances[j]
                - 0.5 * a * a / variances[i]
            )  # fmt: skip
            candidates.extend(middle + _roots(quadratic, linear, constant))
    if not candidates:
        return np.empty(0)
    points = np.unique(candidates)
    probes = np.concatenate(
        [[points[0] - 1.0], 0.5 * (points[:-1] + points[1:]), [points[-1] + 1.0]]
    )
    best = classify(probes, mixture)
    return points[best[:-1] != best[1:]]


def classify(values: np.ndarray, mixture: Mixture) -> np.ndarray:
    """Most probable component of each value.

    Parameters
    ----------
    values : array-like of any shape
        Image units.
    mixture : Mixture
        Of one channel.

    Returns
    -------
    intp ndarray of the shape of ``values``
        Component index; -1 where the value is NaN.

    Examples
    --------
    >>> classify([[1.0, 3.0]], Mixture([0.5, 0.5], [[0.0], [4.0]], [[[1.0]], [[1.0]]]))
    array([[0, 1]])
    """
    _one_channel(mixture)
    values = np.asarray(values)
    if values.dtype.kind not in "f":
        values = values.astype(np.float64)
    flat = values.ravel()
    with np.errstate(divide="ignore"):
        log_weights = np.log(mixture.weights)
    best = np.full(flat.shape, -np.inf)
    label = np.full(flat.shape, -1, dtype=np.intp)
    for k in range(mixture.n_components):
        variance = mixture.covariances[k, 0, 0]
        score = (
            log_weights[k] - 0.5 * np.log(variance)
            - 0.5 * np.square(flat - mixture.means[k, 0], dtype=np.float64) / variance
        )  # fmt: skip
        better = score > best
        label[better], best[better] = k, score[better]
    return label.reshape(values.shape)


def posteriors(values: np.ndarray, mixture: Mixture) -> np.ndarray:
    """Posterior of each component at each value: the shape of ``values``, then K, last."""
    _one_channel(mixture)
    values = np.asarray(values)
    posterior, _ = em.posteriors(values.reshape(-1, 1), mixture)
    return posterior.reshape(*values.shape, mixture.n_components)


def cdf(values: np.ndarray, mixture: Mixture) -> np.ndarray:
    """Distribution function of a one-channel mixture, in the shape of ``values``."""
    from scipy.special import ndtr

    _one_channel(mixture)
    values = np.asarray(values, dtype=np.float64)
    spread = np.sqrt(mixture.covariances[:, 0, 0])
    return ndtr((values[..., None] - mixture.means[:, 0]) / spread) @ mixture.weights


def quantile_function(probabilities: np.ndarray, mixture: Mixture) -> np.ndarray:
    """Inverse of :func:`cdf`, to 1e-12 of the mixture's extent.

    Parameters
    ----------
    probabilities : array-like of numbers strictly between 0 and 1
    mixture : Mixture
        Of one channel.
    """
    from scipy.special import ndtri

    _one_channel(mixture)
    p = np.asarray(probabilities, dtype=np.float64)
    if not ((p > 0) & (p < 1)).all():
        raise InputError("probabilities must lie strictly between 0 and 1.")
    spread = np.sqrt(mixture.covariances[:, 0, 0])
    each = mixture.means[:, 0] + spread * ndtri(p)[..., None]  # brackets the answer
    out = [
        low if low == high else brentq(
            lambda x, q=q: float(cdf(x, mixture)) - q, low, high, xtol=1e-12 * (high - low) + 1e-300
        )
        for q, low, high in zip(
            p.ravel(), each.min(axis=-1).ravel(), each.max(axis=-1).ravel(), strict=True
        )
    ]  # fmt: skip
    return np.array(out).reshape(p.shape)


def _roots(quadratic: float, linear: float, constant: float) -> np.ndarray:
    """Real roots of a quadratic, without loss when the leading term is small."""
    if quadratic == 0:
        return np.array([-constant / linear]) if linear != 0 else np.empty(0)
    discriminant = linear * linear - 4 * quadratic * constant
    if discriminant <= 0:
        return np.empty(0)
    q = -0.5 * (linear + np.copysign(np.sqrt(discriminant), linear))
    roots = [q / quadratic]
    if q != 0:
        roots.append(constant / q)
    return np.array([root for root in roots if np.isfinite(root)])


def _centres(
    centres: np.ndarray | None, edges: np.ndarray | None, width: float | None
) -> tuple[np.ndarray, float]:
    if (centres is None) == (edges is None):
        raise InputError("give either centres or edges of the bins.")
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
    if not x.size:
        raise InputError("samples hold no values; all are missing.")
    return x.min(), x.max()


def _whole(x: np.ndarray) -> bool:
    """Whether all values are whole numbers; a slab at a time, as most images fail at once."""
    return all(
        bool((part == np.rint(part)).all()) for part in np.array_split(x, max(1, len(x) // 2**18))
    )


def _count_levels(x: np.ndarray, base: int, n_levels: int) -> np.ndarray:
    counts = np.zeros(n_levels, dtype=np.int64)
    for part in np.array_split(x, max(1, len(x) // 2**20)):
        levels = part.astype(np.int64)
        levels -= base
        counts += np.bincount(levels, minlength=n_levels)
    return counts


def _one_channel(mixture: Mixture) -> None:
    if mixture.n_channels != 1:
        raise InputError(
            f"this needs a mixture of one channel; got {mixture.n_channels}. "
            f"Take one with mixture.marginal(channel)."
        )
