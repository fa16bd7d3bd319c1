"""Compiled EM of Gaussians on a histogram whose end bins are open (grouped, censored data)."""

from __future__ import annotations

import math

import numpy as np
from numba import njit

_HALF = 0.7071067811865476  # 1 / sqrt(2)
_PEAK = 0.3989422804014327  # 1 / sqrt(2 pi)


@njit(nogil=True, cache=True)
def _interval(low: float, high: float) -> float:
    """Normal probability between two standard scores, without loss in either tail."""
    if low > 0:
        return 0.5 * (math.erfc(low * _HALF) - math.erfc(high * _HALF))
    return 0.5 * (math.erfc(-high * _HALF) - math.erfc(-low * _HALF))


@njit(nogil=True, cache=True)
def pooled_variances(
    weights: np.ndarray, variances: np.ndarray, strength: float, out: np.ndarray
) -> None:
    """Variances under an inverse-gamma prior of ``strength`` whose scale is fitted too.

    Fills ``out``; each round maximises over the scale, then over the variances.
    """
    k = len(out)
    for _ in range(100):
        inverse = 0.0
        for j in range(k):
            inverse += 1.0 / out[j]
        scale = k / inverse
        change = 0.0
        for j in range(k):
            new = (weights[j] * variances[j] + strength * scale) / (weights[j] + strength)
            change = max(change, abs(new - out[j]) / new)
            out[j] = new
        if change < 1e-10:
            break


@njit(nogil=True, cache=True)
def _penalty(variances: np.ndarray, strength: float) -> float:
    """Log prior of the variances, at the best scale, nats per voxel, up to a constant."""
    inverse, logs = 0.0, 0.0
    for v in variances:
        inverse += 1.0 / v
        logs += math.log(v)
    k = len(variances)
    scale = k / inverse
    return 0.5 * strength * (k * math.log(scale) - logs - k)


@njit(nogil=True, cache=True)
def fit_bins(
    edges: np.ndarray,
    shares: np.ndarray,
    weights: np.ndarray,
    means: np.ndarray,
    variances: np.ndarray,
    strength: float,
    floor: float,
    max_iter: int,
    tol: float,
) -> tuple[np.ndarray, float, np.ndarray, np.ndarray, np.ndarray]:
    """EM from the given start. Arrays of K are not modified.

    ``edges`` (B - 1,) are the inner edges, ``shares`` (B,) sum to one. Returns the objective
    after each step (nats per voxel), the log-likelihood, and the parameters.
    """
    n_bins, k = len(shares), len(means)
    weights, means, variances = weights.copy(), means.copy(), variances.copy()
    prob = np.empty((k, n_bins))
    first = np.empty((k, n_bins))
    second = np.empty((k, n_bins))
    trace = np.empty(max_iter + 1)
    n_steps, likelihood = 0, 0.0
    best_w, best_m, best_v = weights.copy(), means.copy(), variances.copy()
    moment = np.empty(k)
    for step in range(max_iter + 1):
        for j in range(k):
            spread = math.sqrt(variances[j])
            low, low_pdf = -40.0, 0.0
            for b in range(n_bins):
                high, high_pdf = 40.0, 0.0
                if b < n_bins - 1:
                    high = (edges[b] - means[j]) / spread
                    high_pdf = _PEAK * math.exp(-0.5 * high * high)
                prob[j, b] = _interval(low, high)
                first[j, b] = low_pdf - high_pdf
                second[j, b] = prob[j, b] + low * low_pdf - high * high_pdf
                low, low_pdf = high, high_pdf
        likelihood = 0.0
        count, shift, square = np.zeros(k), np.zeros(k), np.zeros(k)
        for b in range(n_bins):
            if shares[b] == 0:
                continue
            total = 1e-300
            for j in range(k):
                total += weights[j] * prob[j, b]
            likelihood += shares[b] * math.log(total)
            for j in range(k):
                factor = shares[b] * weights[j] / total
                count[j] += factor * prob[j, b]
                shift[j] += factor * first[j, b]
                square[j] += factor * second[j, b]
        objective = likelihood + _penalty(variances, strength)
        # At a variance on its floor the step is no longer exact: keep what was best.
        if step > 0 and objective < trace[step - 1]:
            break
        trace[step] = objective
        n_steps = step + 1
        best_w[:], best_m[:], best_v[:] = weights, means, variances
        best_likelihood = likelihood
        if step == max_iter or (step > 0 and objective - trace[step - 1] < tol):
            break
        for j in range(k):
            if count[j] <= 1e-12:
                moment[j] = variances[j]
                weights[j] = 1e-12
                continue
            drift = shift[j] / count[j]
            moment[j] = variances[j] * max(square[j] / count[j] - drift * drift, 0.0)
            means[j] += math.sqrt(variances[j]) * drift
            weights[j] = count[j]
        weights /= weights.sum()
        for j in range(k):
            moment[j] = max(moment[j], floor)
        pooled_variances(weights, moment, strength, variances)
    return trace[:n_steps], best_likelihood, best_w, best_m, best_v
