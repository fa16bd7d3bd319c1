r"""Variational Bayes for Gaussian mixtures: how many components, settled by the evidence.

Weights have a Dirichlet prior, or stick-breaking Beta priors of a Dirichlet process; means
and precisions a Normal-Wishart prior, for diagonal covariances a Normal-Gamma one. The
objective is the evidence lower bound in nats per voxel, all constants included [1]_, so it
never falls and may be compared between numbers of components.

References
----------
.. [1] Bishop (2006), *Pattern Recognition and Machine Learning*, section 10.2.
.. [2] Blei & Jordan (2006), *Bayesian Analysis* 1, 121-144, doi 10.1214/06-BA104.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.special import betaln, digamma, gammaln, multigammaln

from gmmseg.checks import InputError
from gmmseg.mixture.model import LOG_2PI, Mixture, whitening
from gmmseg.mixture.moments import Moments, Terms

TYPES = ("full", "tied", "diag", "spherical")


@dataclass(frozen=True, slots=True, eq=False)
class Prior:
    """Hyperparameters of a variational mixture.

    Attributes
    ----------
    covariance_type : {"full", "tied", "diag", "spherical"}
    process : bool
        Dirichlet process (True) or Dirichlet distribution (False).
    concentration : float
        Of each weight, or of the process; positive.
    mean_precision : float
        How many voxels the prior mean is worth; positive.
    mean : (C,) ndarray
        Image units.
    degrees_of_freedom : float
        More than C - 1; how many voxels the prior scale is worth.
    scale : (C, C) ndarray
        Image units squared; prior scatter matrix (diagonal for diag, round for spherical).
    """

    covariance_type: str
    process: bool
    concentration: float
    mean_precision: float
    mean: np.ndarray
    degrees_of_freedom: float
    scale: np.ndarray


@dataclass(frozen=True, slots=True, eq=False)
class Posterior:
    """Variational posterior of K components over C channels.

    Attributes
    ----------
    concentration : (2, K) ndarray
        Beta parameters of the sticks; for a Dirichlet distribution its parameters are in
        the first row.
    mean_precision : (K,) ndarray
    means : (K, C) ndarray
    degrees_of_freedom : (K,) ndarray
    covariances : (K, C, C) ndarray
        Posterior scale over degrees of freedom.
    prior : Prior
    """

    concentration: np.ndarray
    mean_precision: np.ndarray
    means: np.ndarray
    degrees_of_freedom: np.ndarray
    covariances: np.ndarray
    prior: Prior

    @property
    def weights(self) -> np.ndarray:
        """Expected mixing proportions, (K,)."""
        first, second = self.concentration
        if not self.prior.process:
            return first / first.sum()
        stick = first / (first + second)
        weights = stick * np.concatenate([[1.0], np.cumprod(1 - stick[:-1])])
        return weights / weights.sum()

    def mixture(self) -> Mixture:
        """Expected weights, means and inverse expected precisions."""
        return Mixture(self.weights, self.means, self.covariances)

    def terms(self, blur: float = 0.0) -> Terms:
        """Expected log density for the E-step (Bishop eq. 10.64 to 10.66)."""
        roots, log_dets = whitening(self.covariances)
        c = self.means.shape[1]
        log_precision = 2 * log_dets + self._log_det_correction()
        constants = 0.5 * (log_precision - c * LOG_2PI - c / self.mean_precision)
        constants -= 0.5 * blur * np.square(roots).sum(axis=(1, 2))
        if self.prior.covariance_type in ("diag", "spherical"):
            roots = np.diagonal(roots, axis1=1, axis2=2).copy()
        return Terms(self.means, roots, constants, self._log_weights(), blur)

    def _log_weights(self) -> np.ndarray:
        first, second = self.concentration
        if not self.prior.process:
            return digamma(first) - digamma(first.sum())
        both = digamma(first + second)
        before = np.cumsum(digamma(second) - both)[:-1]
        return digamma(first) - both + np.concatenate([[0.0], before])

    def _log_det_correction(self) -> np.ndarray:
        """E log|precision| less log|inverse of ``covariances``|."""
        c = self.means.shape[1]
        dof = _effective(self.degrees_of_freedom, self.prior.covariance_type, c)
        if self.prior.covariance_type in ("full", "tied"):
            steps = np.arange(c)[:, None]
            return digamma(0.5 * (dof - steps)).sum(axis=0) - c * np.log(0.5 * dof)
        return c * (digamma(0.5 * dof) - np.log(0.5 * dof))

    def divergence(self) -> float:
        """Kullback-Leibler divergence of all parameters from their prior, in nats."""
        return self._divergence_of_weights() + self._divergence_of_gaussians()

    def _divergence_of_weights(self) -> float:
        first, second = self.concentration
        prior = self.prior.concentration
        k = len(first)
        if not self.prior.process:
            expected = digamma(first) - digamma(first.sum())
            value = gammaln(first.sum()) - gammaln(first).sum()
            value -= gammaln(k * prior) - k * gammaln(prior)
            return float(value + ((first - prior) * expected).sum())
        both = digamma(first + second)
        value = -betaln(first, second) + betaln(1.0, prior)
        value += (first - 1) * (digamma(first) - both)
        value += (second - prior) * (digamma(second) - both)
        return float(value.sum())

    def _divergence_of_gaussians(self) -> float:
        prior = self.prior
        k, c = self.means.shape
        roots, log_dets = whitening(self.covariances)
        # means: Gaussians whose precision is a multiple of the component's own
        white = np.einsum("kab,kb->ka", roots, self.means - prior.mean)
        ratio = prior.mean_precision / self.mean_precision
        value = (
            0.5
            * (
                c * (ratio - 1 - np.log(ratio))
                + prior.mean_precision * np.square(white).sum(axis=1)
            ).sum()
        )
        # precisions, with q scale matrix S = dof * covariances and p scale matrix S0
        shared = prior.covariance_type == "tied"
        factor = k if shared else 1
        dof = self.degrees_of_freedom * factor
        dof0, scale0 = prior.degrees_of_freedom * factor, prior.scale * factor
        log_precision = 2 * log_dets + self._log_det_correction()
        log_det = c * np.log(dof) - 2 * log_dets  # log |S|
        trace = np.einsum("kab,kab->k", roots @ scale0, roots)  # tr(S0 E precision)
        if prior.covariance_type in ("full", "tied"):
            each = 0.5 * (dof - dof0) * log_precision + 0.5 * (trace - dof * c)
            each += 0.5 * dof * (log_det - c * np.log(2)) - _log_multigamma(0.5 * dof, c)
            each -= 0.5 * dof0 * (np.linalg.slogdet(scale0)[1] - c * np.log(2))
            each += multigammaln(0.5 * dof0, c)
            return float(value + (each[0] if shared else each.sum()))
        # diag: C gammas a component; spherical: one, of C-fold counts
        n_gammas, each_counts = (c, 1) if prior.covariance_type == "diag" else (1, c)
        shape, shape0 = 0.5 * dof * each_counts, 0.5 * dof0 * each_counts
        variances = np.diagonal(self.covariances, axis1=1, axis2=2)[:, :n_gammas]
        rate = shape[:, None] * variances
        rate0 = 0.5 * np.diagonal(scale0)[:n_gammas] * each_counts
        shape = shape[:, None]
        gain = (shape - shape0) * digamma(shape) - gammaln(shape) + gammaln(shape0)
        gain = gain + shape0 * (np.log(rate) - np.log(rate0)) + shape * (rate0 / rate - 1)
        return float(value + gain.sum())


@dataclass(frozen=True, slots=True, eq=False)
class BayesFit:
    """A fitted variational mixture.

    Attributes
    ----------
    posterior : Posterior
    objective : (n_iter + 1,) ndarray
        Evidence lower bound in nats per voxel; never falls.
    converged : bool
    n_iter : int
    """

    posterior: Posterior
    objective: np.ndarray
    converged: bool
    n_iter: int


def update(moments: Moments, prior: Prior) -> Posterior:
    """Posterior given responsibilities (Bishop eq. 10.58 to 10.63)."""
    means, scatter = moments.centred()
    c = means.shape[1]
    if scatter.ndim == 2:
        scatter = scatter[:, :, None] * np.eye(c)
    n = moments.counts
    after = np.concatenate([np.cumsum(n[::-1])[-2::-1], [0.0]])
    if prior.process:
        concentration = np.stack([1.0 + n, prior.concentration + after])
    else:
        concentration = np.stack([prior.concentration + n, np.ones_like(n)])
    precision = prior.mean_precision + n
    shift = means - prior.mean
    posterior_means = prior.mean + (n / precision)[:, None] * shift
    between = prior.mean_precision * (n / precision)[:, None, None]
    scale = prior.scale + scatter + between * shift[:, :, None] * shift[:, None, :]
    dof = prior.degrees_of_freedom + n
    if prior.covariance_type == "tied":
        dof = np.full_like(n, dof.mean())
        scale = np.broadcast_to(scale.mean(axis=0), scale.shape)
    elif prior.covariance_type != "full":
        spread = np.diagonal(scale, axis1=1, axis2=2)
        if prior.covariance_type == "spherical":
            spread = np.broadcast_to(spread.mean(axis=1, keepdims=True), spread.shape)
        scale = spread[:, :, None] * np.eye(c)
    return Posterior(
        concentration, precision, posterior_means, dof, scale / dof[:, None, None], prior
    )


def iterate(
    step: Callable[[Mixture, Terms], Moments],
    start: Posterior,
    *,
    blur: float = 0.0,
    max_iter: int = 500,
    tol: float = 1e-6,
    on_iteration: Callable[[int, float], None] | None = None,
) -> BayesFit:
    """Variational EM around any E-step that returns moments.

    Parameters
    ----------
    step : callable
        From a mixture and terms to :class:`~gmmseg.mixture.moments.Moments`.
    start : Posterior
    blur : float
        Variance by which samples are spread out, image units squared.
    max_iter : int
    tol : float
        Nats per voxel.
    on_iteration : callable, optional

    Returns
    -------
    BayesFit
    """
    posterior, objective, converged = start, [], False
    while True:
        try:
            terms = posterior.terms(blur)
        except np.linalg.LinAlgError:
            raise InputError(
                "a posterior covariance is singular; give a larger covariance_prior."
            ) from None
        moments = step(posterior.mixture(), terms)
        objective.append((moments.log_likelihood - posterior.divergence()) / moments.total)
        n_iter = len(objective) - 1
        if on_iteration is not None and n_iter:
            on_iteration(n_iter, objective[-1])
        if n_iter and objective[-1] - objective[-2] < tol:
            converged = True
            break
        if n_iter >= max_iter:
            break
        posterior = update(moments, posterior.prior)
    return BayesFit(posterior, np.array(objective), converged, n_iter)


def _effective(dof: np.ndarray, covariance_type: str, n_channels: int) -> np.ndarray:
    """Degrees of freedom of the distribution that the components' precisions follow."""
    if covariance_type == "tied":
        return dof * len(dof)  # one Wishart gathers the counts of all components
    return dof * n_channels if covariance_type == "spherical" else dof


def _log_multigamma(a: np.ndarray, c: int) -> np.ndarray:
    steps = 0.5 * np.arange(c)[:, None]
    return gammaln(a - steps).sum(axis=0) + 0.25 * c * (c - 1) * np.log(np.pi)
