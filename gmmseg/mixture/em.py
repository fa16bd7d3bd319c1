r"""Expectation maximisation: responsibilities, updates, and the loop of both.

The objective, in nats per voxel, is

.. math:: \frac{1}{W}\Big[\sum_n w_n \log \sum_k \pi_k N(x_n; \mu_k, \Sigma_k)
          + \sum_k \log p(\Sigma_k)\Big], \qquad W = \sum_n w_n,

and no step lowers it [1]_.

References
----------
.. [1] Dempster, Laird & Rubin (1977), *J. R. Stat. Soc. B* 39, 1-38.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from gmmseg.checks import InputError
from gmmseg.mixture import covariance as models
from gmmseg.mixture import missing
from gmmseg.mixture.maximise import collapsed, m_step, singular_message, update
from gmmseg.mixture.model import Mixture, as_samples
from gmmseg.mixture.moments import Moments, Terms, terms_of
from gmmseg.mixture.passes import e_step, responsibilities
from gmmseg.mixture.prior import VariancePrior
from gmmseg.mixture.settings import weights_for

__all__ = [
    "Fit",
    "VariancePrior",
    "checked",
    "fit",
    "iterate",
    "log_joint",
    "m_step",
    "mean_log_likelihood",
    "posteriors",
    "stepper",
    "update",
]


@dataclass(frozen=True, slots=True, eq=False)
class Fit:
    """A fitted mixture and how it came about.

    Attributes
    ----------
    mixture : Mixture
    objective : (n_iter + 1,) ndarray
        Penalised log likelihood in nats per voxel: of the start, then after each
        iteration. Never falls.
    converged : bool
        Whether the last iteration gained less than ``tol``.
    n_iter : int
    empty : tuple of int
        Components that no sample belongs to any more (weight zero).
    """

    mixture: Mixture
    objective: np.ndarray
    converged: bool
    n_iter: int
    empty: tuple[int, ...] = ()


def log_joint(
    samples: np.ndarray, mixture: Mixture, log_prior: np.ndarray | None = None
) -> np.ndarray:
    r"""Log joint density of each sample and each component, in nats.

    Parameters
    ----------
    samples : (N, C) array-like
        Image units, one row per voxel or histogram bin.
    mixture : Mixture with K components over the same C channels
    log_prior : (N, K) ndarray, optional
        Per-sample log prior, in nats; replaces ``log(mixture.weights)``.

    Returns
    -------
    (N, K) float64 ndarray
    """
    out = mixture.log_density(samples)  # fresh array: += touches nothing of the caller's
    with np.errstate(divide="ignore"):
        out += np.log(mixture.weights) if log_prior is None else log_prior
    return out


def posteriors(
    samples: np.ndarray, mixture: Mixture, log_prior: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    r"""Probability that each sample belongs to each component (the E-step).

    Parameters
    ----------
    samples : (N, C) array-like
        Intensities in image units, one row per voxel or histogram bin; NaN is missing, and
        the channels that are there decide.
    mixture : Mixture with K components over the same C channels
    log_prior : (N, K) ndarray, optional
        Per-sample log prior, in nats; replaces ``log(mixture.weights)``.

    Returns
    -------
    posterior : (N, K) float64 ndarray, rows summing to one
    log_evidence : (N,) float64 ndarray, :math:`\log p(x_n)` in nats

    Raises
    ------
    numpy.linalg.LinAlgError
        If a covariance is not positive definite.

    References
    ----------
    .. [1] Bishop (2006), *Pattern Recognition and Machine Learning*, eq. 9.23.

    Examples
    --------
    >>> two = Mixture([0.5, 0.5], [[0.0], [4.0]], [[[1.0]], [[1.0]]])
    >>> posteriors([[2.0]], two)[0]
    array([[0.5, 0.5]])
    """
    samples, _, log_prior = checked(samples, mixture, None, log_prior)
    if missing.any_missing(samples):
        return missing.responsibilities(samples, mixture, log_prior)
    return responsibilities(samples, terms_of(mixture), log_prior=log_prior)


def fit(
    samples: np.ndarray,
    start: Mixture,
    *,
    sample_weight: np.ndarray | None = None,
    log_prior: np.ndarray | None = None,
    variance_prior: VariancePrior | None = None,
    covariance_type: str = "full",
    blur: float = 0.0,
    max_iter: int = 500,
    tol: float = 1e-6,
    on_iteration: Callable[[int, float], None] | None = None,
) -> Fit:
    """Fit a mixture by expectation maximisation.

    Parameters
    ----------
    samples : (N, C) array-like
        Image units, one row per voxel or histogram bin. float32 stays float32; sums are
        float64. NaN is missing: what is there counts, with the exact marginal likelihood.
    start : Mixture
        See :mod:`gmmseg.mixture.start`.
    sample_weight : (N,) array-like, optional
        How many voxels each row stands for; zero or more, and any real number.
    log_prior : (N, K) array-like, optional
        Per-sample log prior in nats, in place of the log weights. The weights returned are
        then mean responsibilities, and play no part in the objective.
    variance_prior : VariancePrior, optional
    covariance_type : str
        See :func:`gmmseg.mixture.covariance.model_name`.
    blur : float
        Variance added to each sample, image units squared; see
        :func:`gmmseg.mixture.moments.terms_of`.
    max_iter : int
    tol : float
        Stop when an iteration gains less than this, in nats per voxel.
    on_iteration : callable, optional
        Called with the iteration number and the objective.

    Returns
    -------
    Fit

    Raises
    ------
    InputError
        If samples, weights and start do not fit each other, hold infinite values, or a
        covariance becomes singular and there is no prior to hold it.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> truth = Mixture([0.3, 0.7], [[20.0], [60.0]], [[[25.0]], [[49.0]]])
    >>> samples, _ = truth.sample(5000, rng)
    >>> start = Mixture([0.5, 0.5], [[10.0], [90.0]], [[[400.0]], [[400.0]]])
    >>> result = fit(samples, start)
    >>> result.mixture.means.ravel().round(0), result.converged
    (array([20., 60.]), True)
    """
    samples, sample_weight, log_prior = checked(samples, start, sample_weight, log_prior)
    step = stepper(samples, sample_weight, log_prior)
    return iterate(
        step,
        start,
        variance_prior=variance_prior,
        covariance_type=covariance_type,
        blur=blur,
        max_iter=max_iter,
        tol=tol,
        on_iteration=on_iteration,
        weights_matter=log_prior is None,
    )


def iterate(
    step: Callable[[Mixture, Terms], Moments],
    start: Mixture,
    *,
    variance_prior: VariancePrior | None = None,
    covariance_type: str = "full",
    blur: float = 0.0,
    max_iter: int = 500,
    tol: float = 1e-6,
    on_iteration: Callable[[int, float], None] | None = None,
    weights_matter: bool = True,
) -> Fit:
    """The loop of EM around any E-step that returns moments (samples, bins, streams)."""
    diagonal = models.is_axis_aligned(covariance_type)
    mixture, objective, converged = _conforming(start, covariance_type), [], False
    while True:
        try:
            terms = terms_of(mixture, blur=blur, diagonal=diagonal)
        except np.linalg.LinAlgError:
            raise InputError(singular_message(mixture)) from None
        if collapsed(mixture, terms):
            raise InputError(singular_message(mixture))
        moments = step(mixture, terms)
        value = moments.log_likelihood
        if variance_prior is not None:
            value += variance_prior.log_density(terms)
        objective.append(value / moments.total)
        n_iter = len(objective) - 1
        if on_iteration is not None and n_iter:
            on_iteration(n_iter, objective[-1])
        if n_iter and objective[-1] - objective[-2] < tol:
            converged = True
            break
        if n_iter >= max_iter:
            break
        mixture = update(
            moments,
            mixture,
            variance_prior=variance_prior,
            covariance_type=covariance_type,
        )
    empty = tuple(np.flatnonzero(mixture.weights <= 1e-12).tolist()) if weights_matter else ()
    return Fit(mixture, np.array(objective), converged, n_iter, empty)


def stepper(
    samples: np.ndarray, sample_weight: np.ndarray | None, log_prior: np.ndarray | None
) -> Callable[[Mixture, Terms], Moments]:
    """The E-step of these samples, as :func:`iterate` wants it."""
    if missing.any_missing(samples):
        patterns = missing.Patterns(samples, sample_weight, log_prior)
        return lambda mixture, terms: patterns.e_step(mixture, terms)
    return lambda mixture, terms: e_step(
        samples, terms, sample_weight=sample_weight, log_prior=log_prior
    )


def checked(
    samples: np.ndarray,
    mixture: Mixture,
    sample_weight: np.ndarray | None,
    log_prior: np.ndarray | None,
) -> tuple[np.ndarray, np.ndarray | None, np.ndarray | None]:
    """Samples, weights and prior as arrays that fit the mixture, or an InputError."""
    samples = as_samples(samples, mixture.n_channels)
    if not len(samples):
        raise InputError("samples are empty; at least one row is needed.")
    if np.isinf(samples.sum(dtype=np.float64)) and np.isinf(samples).any():
        raise InputError("samples hold infinite values; set them to NaN to have them missing.")
    if sample_weight is not None:
        sample_weight = weights_for(sample_weight, len(samples))
    if log_prior is not None:
        log_prior = np.asarray(log_prior)
        if log_prior.dtype not in (np.float32, np.float64):
            log_prior = log_prior.astype(np.float64)
        if log_prior.shape != (len(samples), mixture.n_components):
            raise InputError(
                f"log_prior must have shape {(len(samples), mixture.n_components)}; "
                f"got {log_prior.shape}."
            )
    return samples, sample_weight, log_prior


def _conforming(start: Mixture, covariance_type: str) -> Mixture:
    """The start brought into the model, so that the first step cannot lower the objective."""
    if models.model_name(covariance_type) == "VVV":
        return start
    on = np.maximum(start.weights, 1e-12)
    covariances = models.maximise(start.covariances * on[:, None, None], on, covariance_type)
    return Mixture(start.weights, start.means, covariances)


def mean_log_likelihood(
    samples: np.ndarray, mixture: Mixture, sample_weight: np.ndarray | None = None
) -> float:
    """Log likelihood in nats per voxel."""
    _, evidence = posteriors(samples, mixture)
    return float(np.average(evidence, weights=sample_weight))
