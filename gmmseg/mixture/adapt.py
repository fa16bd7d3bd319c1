"""Fitting a background mixture to little new data, and telling what does not belong."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
from scipy.stats import chi2

from gmmseg.checks import InputError
from gmmseg.mixture import em
from gmmseg.mixture.model import LOG_2PI, Mixture, whitening
from gmmseg.mixture.moments import terms_of

_PARTS = ("weights", "means", "covariances")


def map_adapt(
    samples: np.ndarray,
    background: Mixture,
    *,
    relevance: float = 16.0,
    adapt: Collection[str] = ("means",),
    n_iter: int = 1,
    sample_weight: np.ndarray | None = None,
) -> Mixture:
    r"""Maximum a posteriori adaptation of a background mixture.

    A component with responsibilities n moves the share n / (n + relevance) of the way from
    the background to the new data.

    Parameters
    ----------
    samples : (N, C) array-like
        NaN is missing.
    background : Mixture
    relevance : float
        How many samples the background is worth to each component; positive.
    adapt : collection of {"weights", "means", "covariances"}
    n_iter : int
    sample_weight : (N,) array-like, optional

    Returns
    -------
    Mixture

    References
    ----------
    .. [1] Reynolds, Quatieri & Dunn (2000), *Digital Signal Processing* 10, 19-41,
       doi 10.1006/dspr.1999.0361, eq. 11 to 14.
    """
    if not relevance > 0:
        raise InputError(f"relevance must be positive; got {relevance}.")
    if not adapt or not set(adapt) <= set(_PARTS):
        raise InputError(f"adapt must name some of {', '.join(_PARTS)}; got {list(adapt)}.")
    samples, sample_weight, _ = em.checked(samples, background, sample_weight, None)
    step = em.stepper(samples, sample_weight, None)
    mixture = background
    for _ in range(n_iter):
        moments = step(mixture, terms_of(mixture))
        new_means, scatter = moments.centred()
        n = moments.counts
        if scatter.ndim == 2:
            scatter = scatter[:, :, None] * np.eye(scatter.shape[1])
        share = n / (n + relevance)
        weights, means, covariances = background.weights, background.means, background.covariances
        if "weights" in adapt:
            weights = share * n / n.sum() + (1 - share) * weights
            weights = weights / weights.sum()
        if "means" in adapt:
            means = share[:, None] * new_means + (1 - share[:, None]) * means
        if "covariances" in adapt:
            covariances = _second_moments(share, n, new_means, scatter, background, means)
        mixture = Mixture(weights, means, covariances)
    return mixture


def _second_moments(
    share: np.ndarray,
    n: np.ndarray,
    new_means: np.ndarray,
    scatter: np.ndarray,
    background: Mixture,
    means: np.ndarray,
) -> np.ndarray:
    """Mix second moments, not covariances, and take them about the adapted means."""
    d_new, d_old = new_means - means, background.means - means
    fresh = scatter / np.maximum(n, 1e-300)[:, None, None]
    fresh = fresh + d_new[:, :, None] * d_new[:, None, :]
    old = background.covariances + d_old[:, :, None] * d_old[:, None, :]
    share = share[:, None, None]
    return share * fresh + (1 - share) * old


def mahalanobis(samples: np.ndarray, mixture: Mixture) -> np.ndarray:
    """Squared Mahalanobis distance of each sample to each component, (N, K)."""
    _, log_dets = whitening(mixture.covariances)
    constants = log_dets - 0.5 * mixture.n_channels * LOG_2PI
    return np.maximum(2 * (constants - mixture.log_density(samples)), 0.0)


def outlier_scores(samples: np.ndarray, mixture: Mixture) -> np.ndarray:
    """Minus the log density, (N,) in nats: the higher, the less a sample belongs."""
    return -em.posteriors(samples, mixture)[1]


def outlier_threshold(
    mixture: Mixture, rng: np.random.Generator, *, rate: float = 0.01, n_samples: int = 200_000
) -> float:
    """Score that the share ``rate`` of the mixture's own samples exceeds.

    Parameters
    ----------
    mixture : Mixture
    rng : numpy.random.Generator
        Draws the samples from which the quantile is taken.
    rate : float
        Of false alarms, between 0 and 1.
    n_samples : int
        Its relative error is about ``1 / sqrt(rate * n_samples)``.

    Returns
    -------
    float
    """
    _check_rate(rate)
    samples, _ = mixture.sample(n_samples, rng)
    return float(np.quantile(outlier_scores(samples, mixture), 1 - rate))


def is_outlier_by_distance(
    samples: np.ndarray, mixture: Mixture, *, rate: float = 0.01
) -> np.ndarray:
    """Samples outside the ellipsoids that hold all but ``rate`` of every component.

    Parameters
    ----------
    samples : (N, C) array-like
    mixture : Mixture
    rate : float
        For one component exactly the rate of false alarms; for several an upper bound.

    Returns
    -------
    (N,) bool ndarray
    """
    _check_rate(rate)
    limit = chi2.ppf(1 - rate, mixture.n_channels)
    return mahalanobis(samples, mixture).min(axis=1) > limit


def _check_rate(rate: float) -> None:
    if not 0 < rate < 1:
        raise InputError(f"rate must lie between 0 and 1; got {rate}.")
