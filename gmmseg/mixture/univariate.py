"""One-channel mixtures: labels, posteriors, decision boundaries, distribution function."""

from __future__ import annotations

import numpy as np
from scipy.optimize import brentq
from scipy.special import ndtr, ndtri

from gmmseg.checks import InputError
from gmmseg.mixture import em
from gmmseg.mixture.model import Mixture


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
    check_one_channel(mixture)
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
    check_one_channel(mixture)
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
    check_one_channel(mixture)
    values = np.asarray(values)
    posterior, _ = em.posteriors(values.reshape(-1, 1), mixture)
    return posterior.reshape(*values.shape, mixture.n_components)


def cdf(values: np.ndarray, mixture: Mixture) -> np.ndarray:
    """Distribution function of a one-channel mixture, in the shape of ``values``."""
    check_one_channel(mixture)
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
    check_one_channel(mixture)
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


def check_one_channel(mixture: Mixture) -> None:
    """Raise InputError unless the mixture has one channel."""
    if mixture.n_channels != 1:
        raise InputError(
            f"this needs a mixture of one channel; got {mixture.n_channels}. "
            f"Take one with mixture.marginal(channel)."
        )
