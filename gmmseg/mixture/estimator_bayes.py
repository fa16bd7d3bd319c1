"""BayesianGaussianMixture: the variational mixture behind scikit-learn's interface."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from gmmseg.checks import InputError
from gmmseg.mixture import bayes
from gmmseg.mixture.blocks import mean_and_covariance
from gmmseg.mixture.estimator_base import BaseMixture, Step
from gmmseg.mixture.forms import expand
from gmmseg.mixture.libraries import one_blas_thread
from gmmseg.mixture.moments import Moments, Terms
from gmmseg.mixture.settings import finite_array, positive_matrices

_PRIOR_TYPES = ("dirichlet_process", "dirichlet_distribution")


class BayesianGaussianMixture(BaseMixture):
    """Variational Bayesian Gaussian mixture.

    A stand-in for :class:`sklearn.mixture.BayesianGaussianMixture` with sample weights,
    missing values and compiled passes. ``lower_bound_`` is the evidence lower bound in nats
    per sample with all constants, so that it may be compared between models; scikit-learn's
    is a total without them.

    Parameters
    ----------
    n_components : int
    covariance_type : {"full", "tied", "diag", "spherical"}
    tol : float
        Stop when an iteration gains less, in nats per sample.
    reg_covar : float
    max_iter, n_init : int
    init_params : str or (n_samples,) int array-like
        See :class:`~gmmseg.mixture.estimator.GaussianMixture`.
    weight_concentration_prior_type : {"dirichlet_process", "dirichlet_distribution"}
    weight_concentration_prior, mean_precision_prior : float, optional
        Default to 1 / n_components and to 1.
    mean_prior : (n_features,) array-like, optional
        Default: the mean of X.
    degrees_of_freedom_prior : float, optional
        Default: n_features.
    covariance_prior : float or array-like, optional
        Default: the covariance of X.
    random_state : int, RandomState, Generator or None
    warm_start : bool
    verbose, verbose_interval : int

    Attributes
    ----------
    weights_, means_, covariances_, precisions_, precisions_cholesky_ : ndarray
    weight_concentration_ : (K,) ndarray, or two for the Dirichlet process
    mean_precision_ : (K,) ndarray
    degrees_of_freedom_ : (K,) ndarray, or one number for ``tied``
    weight_concentration_prior_, mean_precision_prior_, mean_prior_,
    degrees_of_freedom_prior_, covariance_prior_ : the priors in use
    converged_, n_iter_, lower_bound_, lower_bounds_
    empty_components_ : tuple of int
        Components that hold less than one sample in all; the prior keeps their parameters.
    mixture_ : Mixture

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> X = np.concatenate([rng.normal(0, 1, (200, 1)), rng.normal(9, 1, (100, 1))])
    >>> model = BayesianGaussianMixture(5, tol=1e-6, max_iter=500, random_state=0).fit(X)
    >>> int((model.weights_ > 0.05).sum())
    2
    """

    def __init__(
        self,
        n_components: int = 1,
        *,
        covariance_type: str = "full",
        tol: float = 1e-3,
        reg_covar: float = 1e-6,
        max_iter: int = 100,
        n_init: int = 1,
        init_params: str | np.ndarray = "kmeans",
        weight_concentration_prior_type: str = "dirichlet_process",
        weight_concentration_prior: float | None = None,
        mean_precision_prior: float | None = None,
        mean_prior: np.ndarray | None = None,
        degrees_of_freedom_prior: float | None = None,
        covariance_prior: float | np.ndarray | None = None,
        random_state: Any = None,
        warm_start: bool = False,
        verbose: int = 0,
        verbose_interval: int = 10,
    ) -> None:
        self.n_components = n_components
        self.covariance_type = covariance_type
        self.tol = tol
        self.reg_covar = reg_covar
        self.max_iter = max_iter
        self.n_init = n_init
        self.init_params = init_params
        self.weight_concentration_prior_type = weight_concentration_prior_type
        self.weight_concentration_prior = weight_concentration_prior
        self.mean_precision_prior = mean_precision_prior
        self.mean_prior = mean_prior
        self.degrees_of_freedom_prior = degrees_of_freedom_prior
        self.covariance_prior = covariance_prior
        self.random_state = random_state
        self.warm_start = warm_start
        self.verbose = verbose
        self.verbose_interval = verbose_interval

    def _check_settings(self) -> None:
        super()._check_settings()
        if self.covariance_type not in bayes.TYPES:
            raise InputError(
                f"covariance_type must be one of {', '.join(bayes.TYPES)}; "
                f"got {self.covariance_type!r}."
            )
        if self.weight_concentration_prior_type not in _PRIOR_TYPES:
            raise InputError(
                f"weight_concentration_prior_type must be one of {', '.join(_PRIOR_TYPES)}; "
                f"got {self.weight_concentration_prior_type!r}."
            )
        for name in ("weight_concentration_prior", "mean_precision_prior"):
            value = getattr(self, name)
            if value is not None and not 0 < value < np.inf:
                raise InputError(f"{name} must be positive and finite; got {value}.")

    def _start(
        self, X: np.ndarray, sample_weight: np.ndarray | None, rng: np.random.RandomState
    ) -> bayes.Posterior:
        prior = self._prior
        x, r, weight = self._start_moments(X, sample_weight, rng)
        r = np.eye(self.n_components)[r] if r.ndim == 1 else r
        r = r if weight is None else r * weight[:, None]
        r = r * (self._total / r.sum())  # a subsample stands for all
        counts = r.sum(axis=0)
        with one_blas_thread():
            means = np.where(counts[:, None] > 0, r.T @ x, prior.mean)
            means /= np.where(counts > 0, counts, 1.0)[:, None]
            scatter = np.stack([(r[:, k, None] * (x - m)).T @ (x - m) for k, m in enumerate(means)])
        moments = Moments(0.0, counts.sum(), counts, np.zeros_like(means), scatter, means)
        return bayes.update(moments.blurred(self.reg_covar), prior)

    def _survey(self, X: Any) -> None:
        self._total, mean, scale = mean_and_covariance(X)
        self._prior = self._make_prior(mean, scale)

    def _make_prior(self, mean: np.ndarray, scale: np.ndarray) -> bayes.Prior:
        c = len(mean)
        self.weight_concentration_prior_ = (
            1.0 / self.n_components
            if self.weight_concentration_prior is None
            else self.weight_concentration_prior
        )
        self.mean_precision_prior_ = (
            1.0 if self.mean_precision_prior is None else self.mean_precision_prior
        )
        self.degrees_of_freedom_prior_ = (
            c if self.degrees_of_freedom_prior is None else self.degrees_of_freedom_prior
        )
        if not c - 1 < self.degrees_of_freedom_prior_ < np.inf:
            raise InputError(
                f"The parameter 'degrees_of_freedom_prior' should be greater than {c - 1}, but "
                f"got {self.degrees_of_freedom_prior_:.3f}."
            )
        self.mean_prior_ = mean
        if self.mean_prior is not None:
            self.mean_prior_ = finite_array(self.mean_prior, (c,), "means")
        form = self.covariance_type
        if self.covariance_prior is None:
            # Constant or dependent columns have no scale of their own: they take a sliver.
            axes = np.diagonal(scale).copy()
            least = max(1e-6 * axes.max(), self.reg_covar, np.finfo(float).tiny ** 0.5)
            axes[axes <= 1e-12 * axes.max()] = least
            deviations = np.sqrt(axes)
            if np.linalg.eigvalsh(scale / deviations / deviations[:, None])[0] < 1e-9:
                scale = scale + 1e-6 * np.diag(axes)
                scale[np.diag_indices_from(scale)] = np.maximum(np.diagonal(scale), axes)
        self.covariance_prior_ = self._covariance_prior(scale)
        per_component = self.covariance_prior_ if form == "tied" else [self.covariance_prior_]
        return bayes.Prior(
            form,
            self.weight_concentration_prior_type == "dirichlet_process",
            float(self.weight_concentration_prior_),
            float(self.mean_precision_prior_),
            self.mean_prior_,
            float(self.degrees_of_freedom_prior_),
            expand(np.asarray(per_component), form, 1, c)[0],
        )

    def _covariance_prior(self, sample_covariance: np.ndarray) -> np.ndarray:
        c, form = len(sample_covariance), self.covariance_type
        if self.covariance_prior is None:
            axes = np.diagonal(sample_covariance)
            return {
                "full": sample_covariance,
                "tied": sample_covariance,
                "diag": axes.copy(),
                "spherical": axes.mean(),
            }[form]
        shape = {"full": (c, c), "tied": (c, c), "diag": (c,), "spherical": ()}[form]
        return positive_matrices(self.covariance_prior, shape, f"{form} covariance_prior")

    def _run(
        self,
        step: Step,
        start: bayes.Posterior,
        report: Callable[[int, float], None] | None,
    ) -> bayes.BayesFit:
        return bayes.iterate(
            step,
            start,
            blur=self.reg_covar,
            max_iter=self.max_iter,
            tol=self.tol,
            on_iteration=report,
        )

    def _accept(self, result: bayes.BayesFit, dtype: np.dtype) -> None:
        posterior, form = result.posterior, self.covariance_type
        self._posterior = posterior
        first, second = posterior.concentration
        self.weight_concentration_ = (first, second) if posterior.prior.process else first
        self.mean_precision_ = posterior.mean_precision
        dof = posterior.degrees_of_freedom
        self.degrees_of_freedom_ = float(dof[0]) if form == "tied" else dof
        self._keep(posterior.weights, posterior.means, posterior.covariances, form, dtype)
        held = posterior.mean_precision - posterior.prior.mean_precision
        self.empty_components_ = tuple(np.flatnonzero(held < 1).tolist())

    def _current(self) -> bayes.Posterior:
        return self._posterior

    def _terms(self) -> Terms:
        return self._posterior.terms()
