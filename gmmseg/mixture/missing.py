r"""Missing channels: the exact likelihood of what was observed.

Rows are grouped by which channels they lack. A group's density is the marginal over the
channels it has, and the M-step takes the conditional mean and covariance of those it lacks
[1]_, so nothing is imputed and no row is dropped.

References
----------
.. [1] Ghahramani & Jordan (1994), *Supervised learning from incomplete data via an EM
   approach*, NIPS 6, sections 3 and 4.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from gmmseg.mixture import passes
from gmmseg.mixture.model import Mixture
from gmmseg.mixture.moments import Moments, Terms, terms_of


def any_missing(samples: np.ndarray) -> bool:
    """Whether any value is NaN, without a temporary of the samples' size."""
    # A sum is NaN when a term is, and also for inf - inf, which is checked elsewhere.
    with np.errstate(invalid="ignore", over="ignore"):
        return bool(np.isnan(samples.sum(dtype=np.float64))) and bool(np.isnan(samples).any())


def group_rows(samples: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
    """Observed channels and row numbers of each pattern of missing values."""
    absent = np.isnan(samples)
    patterns, which = np.unique(absent, axis=0, return_inverse=True)
    which = which.ravel()
    order = np.argsort(which, kind="stable")
    bounds = np.cumsum(np.bincount(which, minlength=len(patterns)))[:-1]
    return [
        (np.flatnonzero(~pattern), rows)
        for pattern, rows in zip(patterns, np.split(order, bounds), strict=True)
    ]


class Patterns:
    """Samples with missing values, sorted once and visited in every E-step."""

    def __init__(
        self,
        samples: np.ndarray,
        sample_weight: np.ndarray | None,
        log_prior: np.ndarray | None,
    ) -> None:
        weight = np.ones(len(samples)) if sample_weight is None else sample_weight
        self.total = float(weight.sum())
        self.groups = [
            (
                observed,
                np.ascontiguousarray(samples[np.ix_(rows, observed)]),
                weight[rows],
                None if log_prior is None else log_prior[rows],
            )
            for observed, rows in group_rows(samples)
        ]

    def e_step(self, mixture: Mixture, terms: Terms) -> Moments:
        """Moments of all samples; ``terms`` carry the constants beyond the density."""
        k, c = mixture.means.shape
        total = Moments(0.0, 0.0, np.zeros(k), np.zeros((k, c)), np.zeros((k, c, c)), mixture.means)
        for observed, samples, weight, log_prior in self.groups:
            part = _pattern_moments(samples, observed, mixture, terms, weight, log_prior)
            total = total + part
        return total


def responsibilities(
    samples: np.ndarray,
    mixture: Mixture,
    log_prior: np.ndarray | None = None,
    terms: Terms | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Posteriors (N, K) and log evidence (N,) of samples with missing values.

    ``terms`` carry constants beyond the density, as variational ones do.
    """
    terms = terms_of(mixture) if terms is None else terms
    posterior = np.empty((len(samples), mixture.n_components))
    evidence = np.empty(len(samples))
    for observed, rows in group_rows(samples):
        prior = None if log_prior is None else log_prior[rows]
        if not len(observed):
            given = (terms.log_weights if prior is None else prior) + _beyond(mixture, terms)
            given = np.broadcast_to(given, (len(rows), mixture.n_components))
            top = np.logaddexp.reduce(given, axis=1)
            posterior[rows], evidence[rows] = np.exp(given - top[:, None]), top
            continue
        posterior[rows], evidence[rows] = passes.responsibilities(
            samples[np.ix_(rows, observed)], _seen(mixture, observed, terms), log_prior=prior
        )
    return posterior, evidence


def conditional_means(samples: np.ndarray, mixture: Mixture) -> np.ndarray:
    """Fill what is missing with its expectation given what is there.

    Parameters
    ----------
    samples : (N, C) float ndarray, NaN where missing
    mixture : Mixture

    Returns
    -------
    (N, C) float64 ndarray; observed values are untouched

    References
    ----------
    .. [1] Ghahramani & Jordan (1994), eq. 16.
    """
    out = np.array(samples, dtype=np.float64)
    posterior, _ = responsibilities(out, mixture)
    for observed, rows in group_rows(out):
        lacking = np.setdiff1d(np.arange(mixture.n_channels), observed)
        if not len(lacking):
            continue
        filled = np.zeros((len(rows), len(lacking)))
        for k in range(mixture.n_components):
            gain, _ = regression_of(mixture.covariances[k], observed, lacking)
            residual = out[np.ix_(rows, observed)] - mixture.means[k, observed]
            filled += posterior[rows, k, None] * (mixture.means[k, lacking] + residual @ gain.T)
        out[np.ix_(rows, lacking)] = filled
    return out


def _pattern_moments(
    samples: np.ndarray,
    observed: np.ndarray,
    mixture: Mixture,
    terms: Terms,
    weight: np.ndarray,
    log_prior: np.ndarray | None,
) -> Moments:
    k, c = mixture.means.shape
    lacking = np.setdiff1d(np.arange(c), observed)
    if len(observed):
        seen = _seen(mixture, observed, terms)
        part = passes.e_step(samples, seen, sample_weight=weight, log_prior=log_prior)
        seen_scatter = part.scatter
        if seen_scatter.ndim == 2:
            seen_scatter = seen_scatter[:, :, None] * np.eye(len(observed))
        counts, seen_sums, value = part.counts, part.sums, part.log_likelihood
    else:  # nothing observed: such rows say nothing but their prior
        given = (terms.log_weights if log_prior is None else log_prior) + _beyond(mixture, terms)
        given = np.broadcast_to(given, (len(weight), k))
        top = np.logaddexp.reduce(given, axis=1)
        counts = weight @ np.exp(given - top[:, None])
        value = float(weight @ top)
        seen_sums, seen_scatter = np.zeros((k, 0)), np.zeros((k, 0, 0))
    sums, scatter = np.zeros((k, c)), np.zeros((k, c, c))
    for j in range(k):
        lift = np.zeros((c, len(observed)))  # residual of all channels from those seen
        lift[observed, np.arange(len(observed))] = 1.0
        gain, rest = regression_of(mixture.covariances[j], observed, lacking)
        lift[lacking] = gain
        sums[j] = lift @ seen_sums[j]
        scatter[j] = lift @ seen_scatter[j] @ lift.T
        scatter[j][np.ix_(lacking, lacking)] += counts[j] * rest
    return Moments(value, float(weight.sum()), counts, sums, scatter, mixture.means)


def _beyond(mixture: Mixture, terms: Terms) -> np.ndarray:
    """What ``terms`` add to the log density of each component, (K,); no pattern changes it."""
    return terms.constants - terms_of(mixture, blur=terms.blur).constants


def _seen(mixture: Mixture, observed: np.ndarray, terms: Terms) -> Terms:
    """Terms of the observed channels."""
    marginal = terms_of(mixture.marginal(observed), blur=terms.blur)
    return replace(
        marginal,
        constants=marginal.constants + _beyond(mixture, terms),
        log_weights=terms.log_weights,
    )


def regression_of(
    covariance: np.ndarray, observed: np.ndarray, lacking: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Gain (L, O) and residual covariance (L, L) of the lacking channels on the observed."""
    within = covariance[np.ix_(observed, observed)]
    cross = covariance[np.ix_(lacking, observed)]
    gain = np.linalg.solve(within, cross.T).T if len(observed) else cross
    return gain, covariance[np.ix_(lacking, lacking)] - gain @ cross.T
