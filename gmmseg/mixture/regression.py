"""Gaussian mixture regression: some channels from others."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gmmseg.checks import InputError
from gmmseg.mixture import missing
from gmmseg.mixture.em import posteriors
from gmmseg.mixture.model import Channels, Mixture, as_samples, channel_list


@dataclass(frozen=True, slots=True, eq=False)
class Prediction:
    """Channels filled in from others.

    Attributes
    ----------
    mean : (N, R) float64 ndarray
        Conditional expectation, image units.
    variance : (N, R) float64 ndarray
        Conditional variance, image units squared.
    """

    mean: np.ndarray
    variance: np.ndarray


def predict_channels(mixture: Mixture, given: Channels, values: np.ndarray) -> Prediction:
    """Expectation and variance of the other channels at each sample.

    Parameters
    ----------
    mixture : Mixture
    given : int or sequence of int
        Channels that are known.
    values : (N, len(given)) array-like
        Their values, image units; NaN where one of them is missing after all.

    Returns
    -------
    Prediction
        Of the other channels, in their order.

    References
    ----------
    .. [1] Ghahramani & Jordan (1994), NIPS 6, section 4.2.

    Examples
    --------
    >>> line = Mixture([1.0], [[0.0, 1.0]], [[[1.0, 0.5], [0.5, 1.0]]])
    >>> predict_channels(line, 0, [[2.0]]).mean
    array([[2.]])
    """
    known = channel_list(given, mixture.n_channels)
    rest = np.setdiff1d(np.arange(mixture.n_channels), known)
    if not len(rest):
        raise InputError("predict_channels needs at least one channel that is not given.")
    values = as_samples(values, len(known))
    samples = np.full((len(values), mixture.n_channels), np.nan)
    samples[:, known] = values
    posterior, _ = posteriors(samples, mixture)
    mean, square = np.zeros((len(values), len(rest))), np.zeros((len(values), len(rest)))
    for observed, rows in missing.group_rows(samples):
        for k in range(mixture.n_components):
            gain, spread = missing.regression_of(mixture.covariances[k], observed, rest)
            residual = samples[np.ix_(rows, observed)] - mixture.means[k, observed]
            own = mixture.means[k, rest] + residual @ gain.T
            share = posterior[rows, k, None]
            mean[rows] += share * own
            square[rows] += share * (np.diagonal(spread) + np.square(own - mixture.means[0, rest]))
    variance = square - np.square(mean - mixture.means[0, rest])
    return Prediction(mean, np.maximum(variance, 0.0))
