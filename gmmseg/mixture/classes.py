r"""Classes of intensity: a mixture on a histogram, in the scale that suits the image.

Two Gaussians of free variance split a page of text in its paper, two of one variance split a
fluorescence image in its brightest nuclei. Both are cured by two pieces of model: class
variances borrow from each other (an inverse-gamma prior), and intensities are Gaussian on a
scale that is linear up to the background and may be logarithmic above, chosen by likelihood.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from scipy.special import xlogy

from gmmseg.checks import InputError
from gmmseg.mixture.classes_kernels import fit_bins

# The prior of the variances counts twice as much as the image; classes share it.
STRENGTH = 2.0
_ORIGINS = (0.05, 0.25, 0.5)  # quantiles at which the background may lie
_BENDS = 2.0 ** np.arange(-5, 2)  # standard deviations of the image, beyond the origin
_MOST_BINS = 512
_SCREEN_BINS = 128
_FLOOR = 1e-3  # narrowest class, as a share of the range of intensities


@dataclass(frozen=True, slots=True)
class Scale:
    r"""Linear up to ``origin``, and :math:`\operatorname{arcsinh}` of the rest beyond.

    Attributes
    ----------
    origin : float
        Image units. Infinite: linear everywhere.
    bend : float
        Image units above ``origin`` at which the logarithm takes over.

    References
    ----------
    .. [1] Rocke & Durbin (2001), doi 10.1089/106652701753307485: additive noise at the
       background, multiplicative above it, and the transform that makes both even.
    """

    origin: float = np.inf
    bend: float = 1.0

    def forward(self, values: np.ndarray) -> np.ndarray:
        """Image units to the scale of the mixture, float64."""
        values = np.asarray(values, dtype=np.float64)
        if np.isinf(self.origin):
            return values
        z = (values - self.origin) / self.bend
        return np.where(z > 0, np.arcsinh(np.maximum(z, 0)), z)

    def backward(self, values: np.ndarray) -> np.ndarray:
        """The scale of the mixture to image units."""
        values = np.asarray(values, dtype=np.float64)
        if np.isinf(self.origin):
            return values
        above = np.sinh(np.clip(values, 0, 700))
        return self.origin + self.bend * np.where(values > 0, above, values)


@dataclass(frozen=True, slots=True, eq=False)
class ClassFit:
    """Classes of intensity, rising.

    Attributes
    ----------
    thresholds : (K - 1,) float64 ndarray, image units; the class above begins beyond
    weights, means, variances : (K,) float64 ndarrays, the last two on ``scale``
    centres : (K,) float64 ndarray, the means in image units
    scale : Scale
    objective : (S,) float64 ndarray, nats per voxel, never decreasing
    log_likelihood : float, nats per voxel
    """

    thresholds: np.ndarray
    weights: np.ndarray
    means: np.ndarray
    variances: np.ndarray
    centres: np.ndarray
    scale: Scale
    objective: np.ndarray
    log_likelihood: float

    @property
    def separation(self) -> np.ndarray:
        """(K - 1,) distance of neighbouring means in their standard deviations (Ashman's D)."""
        spread = np.sqrt(0.5 * (self.variances[1:] + self.variances[:-1]))
        return np.diff(self.means) / spread

    def posteriors(self, values: np.ndarray) -> np.ndarray:
        """Posterior of each class at each value: the shape of ``values``, then K, last.

        Beyond the outermost means the outermost classes keep what they have there at least:
        a wide class does not come back on the far side of a narrow one.
        """
        y = np.clip(self.scale.forward(values), self.means[0], self.means[-1])[..., None]
        log = np.log(self.weights) - 0.5 * np.log(self.variances)
        log = log - 0.5 * (y - self.means) ** 2 / self.variances
        log -= log.max(axis=-1, keepdims=True)
        joint = np.exp(log)
        return joint / joint.sum(axis=-1, keepdims=True)

    def predict(self, values: np.ndarray) -> np.ndarray:
        """Class of each value, from 0, by the thresholds; intp."""
        return np.asarray(
            np.searchsorted(self.thresholds, np.asarray(values, dtype=np.float64), "left")
        )


def fit_classes(
    counts: np.ndarray,
    centres: np.ndarray,
    n_classes: int = 2,
    *,
    scale: Scale | None = None,
    strength: float | None = None,
    max_iter: int = 500,
    tol: float = 1e-7,
) -> ClassFit:
    r"""Split a histogram into classes.

    The likelihood is that of grouped data, the integral of the density over each bin, and the
    end bins reach to infinity: intensities clipped at 0 or 255 need nothing else. It does not
    depend on the scale's units, so that scales are compared by it directly.

    Parameters
    ----------
    counts : (B,) array-like
        Voxels in each bin; zero or more.
    centres : (B,) or (B, 1) array-like
        Bin centres in image units, rising (``weighted_bins`` gives both).
    n_classes : int
        Two or more.
    scale : Scale, optional
        By default the most likely of the linear one and those logarithmic above the
        background.
    strength : float, optional
        Weight of the prior that class variances are alike, for each class, in voxels per voxel
        of the image; ``2 / n_classes`` by default. 0 leaves each its own, infinity is not
        allowed.
    max_iter, tol
        EM steps, and the least gain of one, nats per voxel.

    Returns
    -------
    ClassFit

    Raises
    ------
    InputError
        If counts and centres do not fit, or fewer distinct intensities than classes occur.

    References
    ----------
    .. [1] McLachlan & Jones (1988), doi 10.2307/2531869: EM for grouped, truncated data.
    .. [2] Fraley & Raftery (2007), doi 10.1007/s00357-007-0004-5: the prior of variances.

    Examples
    --------
    >>> rng = np.random.default_rng(1)
    >>> dim, bright = rng.normal(10, 2, 9000), rng.lognormal(4, 0.8, 1000)
    >>> levels, counts = np.unique(np.r_[dim, bright].round(), return_counts=True)
    >>> bool(15 < fit_classes(counts, levels).thresholds[0] < 25)
    True
    """
    counts, centres = _histogram(counts, centres)
    if not (isinstance(n_classes, (int, np.integer)) and n_classes >= 2):
        raise InputError(f"n_classes must be a whole number of 2 or more; got {n_classes}.")
    if np.count_nonzero(counts) < n_classes:
        raise InputError(
            f"the histogram holds {np.count_nonzero(counts)} distinct intensities, too few for "
            f"{n_classes} classes; ask for fewer classes."
        )
    strength = STRENGTH / n_classes if strength is None else strength
    if not 0 <= strength < np.inf:
        raise InputError(f"strength must be zero or more, and finite; got {strength}.")
    if scale is None:
        scale = _best_scale(*coarsen(counts, centres, _SCREEN_BINS), n_classes, strength)
    counts, centres, edges = coarsen(counts, centres, _MOST_BINS)
    trace, likelihood, w, m, v = _fit(
        counts, centres, edges, n_classes, scale, strength, max_iter, tol
    )
    thresholds = scale.backward(np.maximum.accumulate(_crossings(w, m, v)))
    return ClassFit(thresholds, w, m, v, scale.backward(m), scale, trace, likelihood)


def coarsen(
    counts: np.ndarray, centres: np.ndarray, n_bins: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """At most about ``n_bins`` bins, narrow where voxels are many, and their inner edges.

    Parameters
    ----------
    counts, centres : (B,) float64 ndarrays
    n_bins : int

    Returns
    -------
    counts, centres : (C,) float64 ndarrays
    edges : (C - 1,) float64 ndarray
    """
    used = counts > 0
    counts, centres = counts[used], centres[used]
    edges = 0.5 * (centres[1:] + centres[:-1])
    if len(counts) <= n_bins:
        return counts, centres, edges
    below = np.cumsum(counts)
    shares = np.linspace(0, 1, n_bins // 2 + 1)[1:-1]
    by_count = np.searchsorted(below, shares * below[-1])
    by_value = np.searchsorted(centres, centres[0] + shares * (centres[-1] - centres[0]))
    last = np.unique(np.concatenate([by_count, by_value]))
    last = last[last < len(edges)]
    starts = np.concatenate([[0], last + 1])
    merged = np.add.reduceat(counts, starts)
    return merged, np.add.reduceat(counts * centres, starts) / merged, edges[last]


def _histogram(counts: np.ndarray, centres: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    counts = np.asarray(counts, dtype=np.float64).ravel()
    centres = np.asarray(centres, dtype=np.float64).ravel()
    if counts.shape != centres.shape:
        raise InputError(
            f"counts and centres must be equally long; got {len(counts)} and {len(centres)}."
        )
    if not np.isfinite(counts).all() or (counts < 0).any() or not counts.sum() > 0:
        raise InputError("counts must be finite, not negative, and not all zero.")
    if not np.isfinite(centres).all() or not (np.diff(centres) > 0).all():
        raise InputError("centres must be finite and rise.")
    return counts, centres


def scales(counts: np.ndarray, centres: np.ndarray) -> list[Scale]:
    """The candidates: linear, and logarithmic above each plausible background."""
    below = np.cumsum(counts) / counts.sum()
    origins = np.unique([centres[np.searchsorted(below, q)] for q in _ORIGINS])
    mean = np.average(centres, weights=counts)
    spread = np.sqrt(np.average((centres - mean) ** 2, weights=counts))
    return [Scale(), *(Scale(float(a), float(b * spread)) for a in origins for b in _BENDS)]


def _best_scale(
    counts: np.ndarray, centres: np.ndarray, edges: np.ndarray, n_classes: int, strength: float
) -> Scale:
    best, top = Scale(), -np.inf
    if len(counts) < n_classes + 2:
        return best  # nothing to choose by
    for scale in scales(counts, centres):
        trace, *_ = _fit(counts, centres, edges, n_classes, scale, strength, 100, 1e-5)
        if trace[-1] > top:
            best, top = scale, trace[-1]
    return best


def _fit(
    counts: np.ndarray,
    centres: np.ndarray,
    edges: np.ndarray,
    n_classes: int,
    scale: Scale,
    strength: float,
    max_iter: int,
    tol: float,
) -> tuple[np.ndarray, float, np.ndarray, np.ndarray, np.ndarray]:
    y, shares = scale.forward(centres), counts / counts.sum()
    floor = (_FLOOR * (y[-1] - y[0])) ** 2
    fits = []
    for label in _splits(shares, y, n_classes, floor):
        w = np.bincount(label, shares, n_classes)
        m = np.bincount(label, shares * y, n_classes) / w
        within = max(float((shares * (y - m[label]) ** 2).sum()), floor)
        fits.append(
            fit_bins(
                scale.forward(edges), shares, w, m, np.full(n_classes, within), strength, floor,
                max_iter, tol,
            )
        )  # fmt: skip
    trace, likelihood, w, m, v = max(fits, key=lambda fit: fit[0][-1])
    order = np.argsort(m, kind="stable")
    return trace, likelihood, w[order], m[order], v[order]


def _splits(shares: np.ndarray, y: np.ndarray, n_classes: int, floor: float) -> list[np.ndarray]:
    """Labels of two starts; one class is cut in two until there are enough.

    Once by Otsu's rule, for classes of equal share, and once by Kurita's, which lets shares
    differ: a rare class is lost by the first, and one among many of unlike width by the second.

    References
    ----------
    Kurita, Otsu & Abdelmalek (1992), doi 10.1016/0031-3203(92)90024-D.
    """
    starts: list[np.ndarray] = []
    for rare in (False, True):
        bounds = [0, len(y)]
        while len(bounds) <= n_classes:
            label = np.repeat(np.arange(len(bounds) - 1), np.diff(bounds))
            mean = np.bincount(label, shares * y) / np.bincount(label, shares)
            within = float((shares * (y - mean[label]) ** 2).sum())
            options = []
            for a, b in pairwise(bounds):
                if b - a < 2:
                    continue
                p, first = np.cumsum(shares[a:b]), np.cumsum(shares[a:b] * y[a:b])
                rest = p[-1] - p[:-1]
                value = (first[:-1] * p[-1] - first[-1] * p[:-1]) ** 2 / (p[:-1] * rest * p[-1])
                if rare:
                    value = -0.5 * np.log(np.maximum(within - value, floor) + 1e-300)
                    value += xlogy(p[:-1], p[:-1]) + xlogy(rest, rest) - xlogy(p[-1], p[-1])
                at = int(np.argmax(value))
                options.append((float(value[at]), a + at + 1))
            bounds = sorted([*bounds, max(options)[1]])
        label = np.repeat(np.arange(n_classes), np.diff(bounds))
        if not any(np.array_equal(label, start) for start in starts):
            starts.append(label)
    return starts


def _crossings(w: np.ndarray, m: np.ndarray, v: np.ndarray) -> np.ndarray:
    """(K - 1,) points at which each class gives way to the next, between their means."""
    out = np.empty(len(m) - 1)
    for k in range(len(out)):
        points = np.linspace(m[k], m[k + 1], 4097)[:, None]
        pair = slice(k, k + 2)
        score = np.log(w[pair]) - 0.5 * np.log(v[pair]) - 0.5 * (points - m[pair]) ** 2 / v[pair]
        upper = score[:, 1] > score[:, 0]
        # A class that is nowhere the likelier one keeps the far side of its mean.
        out[k] = points[int(np.argmax(upper)) if upper.any() else -1, 0]
    return out
