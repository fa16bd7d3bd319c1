"""The estimators: scikit-learn's interface over the engine."""

# ruff: noqa: ARG002 (scikit-learn passes y to every estimator)

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning

from gmmseg.checks import InputError
from gmmseg.mixture import covariance, em, start, streaming
from gmmseg.mixture.blocks import n_columns
from gmmseg.mixture.estimator_base import BaseMixture, Step
from gmmseg.mixture.estimator_bayes import BayesianGaussianMixture
from gmmseg.mixture.forms import expand, terms_from
from gmmseg.mixture.model import Mixture
from gmmseg.mixture.moments import Terms, terms_of
from gmmseg.mixture.settings import finite_array, positive_matrices, proportions

__all__ = ["BayesianGaussianMixture", "GaussianMixture"]

SHAPED = ("full", "tied", "diag", "spherical")


class GaussianMixture(BaseMixture):
    """Gaussian mixture fitted by expectation maximisation.

    A stand-in for :class:`sklearn.mixture.GaussianMixture`: the same parameters,
    attributes and, for the same ``random_state``, the same starting points. It adds sample
    weights, missing values (NaN), mclust's covariance models, a variance prior, and the
    speed of one compiled pass an iteration.

    Parameters
    ----------
    n_components : int
    covariance_type : str
        ``full``, ``tied``, ``diag``, ``spherical``; one of mclust's 14 models, such as
        ``VEI``; ``E`` or ``V`` for one channel; or ``auto``, the model of lowest BIC.
    tol : float
        Stop when an iteration gains less, in nats per sample.
    reg_covar : float
        Variance by which samples are spread out: it ends up on the diagonal of the
        covariances, and the objective accounts for it and never falls.
    max_iter, n_init : int
    init_params : str or (n_samples,) int array-like
        ``kmeans``, ``k-means++``, ``random``, ``random_from_data``, ``quantile`` (by the
        first channel), ``hierarchical`` (mclust's), or the labels to start from.
    weights_init, means_init, precisions_init : array-like, optional
    random_state : int, RandomState, Generator or None
    warm_start : bool
    verbose, verbose_interval : int
    variance_prior : float, VariancePrior or None
        Inverse Wishart prior on each covariance; a float is its ``floor``, worth one
        sample.
    short_runs : int
        Number of starts tried for ten iterations each before the best of them is run to
        the end; 0 for none.

    Attributes
    ----------
    weights_, means_, covariances_, precisions_, precisions_cholesky_ : ndarray
        As in scikit-learn; covariances of mclust's models have shape (K, C, C).
    covariance_type_ : str
        The model fitted, which tells what ``auto`` chose.
    converged_ : bool
    n_iter_ : int
    lower_bound_ : float
        Penalised log likelihood in nats per sample.
    lower_bounds_ : list of float
        After each iteration.
    empty_components_ : tuple of int
        Components that lost all their samples; their weight is zero.
    mixture_ : Mixture

    Examples
    --------
    >>> X = np.array([[1, 2], [1, 4], [1, 0], [10, 2], [10, 4], [10, 0]])
    >>> model = GaussianMixture(n_components=2, random_state=0).fit(X)
    >>> model.mixture_.relabelled().means.round(2)
    array([[ 1.,  2.],
           [10.,  2.]])
    >>> int(model.predict([[0, 0]])[0]) == int(model.predict([[1, 1]])[0])
    True
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
        weights_init: np.ndarray | None = None,
        means_init: np.ndarray | None = None,
        precisions_init: np.ndarray | None = None,
        random_state: Any = None,
        warm_start: bool = False,
        verbose: int = 0,
        verbose_interval: int = 10,
        variance_prior: float | em.VariancePrior | None = None,
        short_runs: int = 0,
    ) -> None:
        self.n_components = n_components
        self.covariance_type = covariance_type
        self.tol = tol
        self.reg_covar = reg_covar
        self.max_iter = max_iter
        self.n_init = n_init
        self.init_params = init_params
        self.weights_init = weights_init
        self.means_init = means_init
        self.precisions_init = precisions_init
        self.random_state = random_state
        self.warm_start = warm_start
        self.verbose = verbose
        self.verbose_interval = verbose_interval
        self.variance_prior = variance_prior
        self.short_runs = short_runs

    def partial_fit(
        self, X: Any, y: Any = None, sample_weight: np.ndarray | None = None
    ) -> GaussianMixture:
        """One step of stepwise EM on one more block of samples.

        Parameters
        ----------
        X : (n_samples, n_features) array-like
            The first block makes the start, unless the mixture is fitted already.
        y : ignored
        sample_weight : (n_samples,) array-like, optional

        Returns
        -------
        self
        """
        if not hasattr(self, "_stepwise"):
            if not hasattr(self, "converged_"):
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore", ConvergenceWarning)
                    settings = self.max_iter
                    try:
                        self.max_iter = 10
                        self._fit(X, sample_weight)
                    finally:
                        self.max_iter = settings
            self._stepwise = streaming.Stepwise(self.mixture_)
        X = self._seen(X)
        stepwise = self._stepwise
        terms = terms_of(stepwise.mixture, blur=self.reg_covar)
        moments = streaming.block_moments(stepwise.mixture, terms, X, sample_weight)
        mixture = stepwise.update(
            moments, variance_prior=self._prior(), covariance_type=self.covariance_type_
        )
        value = moments.log_likelihood / moments.total
        self._accept(em.Fit(mixture, np.array([value]), False, stepwise.n_blocks), X.dtype)
        self.n_iter_, self.lower_bound_ = stepwise.n_blocks, value
        return self

    def bic(self, X: Any, sample_weight: np.ndarray | None = None) -> float:
        """Bayesian information criterion; the lower the better.

        The number of samples is the sum of ``sample_weight``.
        """
        total, log_likelihood, _ = self._sums(X, sample_weight)
        return float(-2 * log_likelihood + self.n_parameters_ * np.log(total))

    def aic(self, X: Any, sample_weight: np.ndarray | None = None) -> float:
        """Akaike information criterion; the lower the better."""
        _, log_likelihood, _ = self._sums(X, sample_weight)
        return float(-2 * log_likelihood + 2 * self.n_parameters_)

    def icl(self, X: Any, sample_weight: np.ndarray | None = None) -> float:
        """Integrated completed likelihood: BIC plus what overlap costs; the lower the better.

        References
        ----------
        .. [1] Biernacki, Celeux & Govaert (2000), *IEEE PAMI* 22, 719-725,
           doi 10.1109/34.865189.
        """
        total, log_likelihood, log_posterior = self._sums(X, sample_weight)
        completed = log_likelihood + log_posterior
        return float(-2 * completed + self.n_parameters_ * np.log(total))

    @property
    def n_parameters_(self) -> int:
        """Number of free parameters of the fitted mixture."""
        k, c = self.n_components, self.means_.shape[1]
        form = getattr(self, "covariance_type_", self.covariance_type)
        return k * c + k - 1 + covariance.n_covariance_parameters(form, k, c)

    def _n_parameters(self) -> int:  # scikit-learn's name, which its tests call
        return self.n_parameters_

    def _check_settings(self) -> None:
        super()._check_settings()
        if self.covariance_type != "auto":
            covariance.model_name(self.covariance_type)
        prior = self.variance_prior
        if prior is not None and not isinstance(prior, em.VariancePrior):
            em.VariancePrior(floor=prior)

    def _prior(self) -> em.VariancePrior | None:
        prior = self.variance_prior
        if prior is None or isinstance(prior, em.VariancePrior):
            return prior
        return em.VariancePrior(floor=prior)

    def _form(self) -> str:
        return self.covariance_type if self.covariance_type in SHAPED else "full"

    def _check_initial(self, X: np.ndarray) -> None:
        k, c, form = self.n_components, X.shape[1], self._form()
        if self.weights_init is not None:
            proportions(self.weights_init, k)
        if self.means_init is not None:
            finite_array(self.means_init, (k, c), "means")
        if self.precisions_init is not None:
            shapes = {"full": (k, c, c), "tied": (c, c), "diag": (k, c), "spherical": (k,)}
            positive_matrices(self.precisions_init, shapes[form], f"{form} precision")

    def _fit(self, X: Any, sample_weight: np.ndarray | None) -> GaussianMixture:
        self.__dict__.pop("_stepwise", None)
        if self.covariance_type != "auto":
            super()._fit(X, sample_weight)
            self.covariance_type_ = self.covariance_type
            return self
        names = ("E", "V") if n_columns(X) == 1 else covariance.MODELS
        best, least, failures = None, np.inf, []
        for name in names:
            model = clone(self).set_params(covariance_type=name)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ConvergenceWarning)
                try:
                    value = model.fit(X, sample_weight=sample_weight).bic(X, sample_weight)
                except InputError as error:  # too many parameters for these data
                    failures.append(error)
                    continue
            if value < least:
                best, least = model, value
        if best is None:
            raise failures[0]
        settings = self.get_params()
        self.__dict__.update({**best.__dict__, **settings})
        return self

    def _start(
        self, X: np.ndarray, sample_weight: np.ndarray | None, rng: np.random.RandomState
    ) -> Mixture:
        given = (self.weights_init, self.means_init, self.precisions_init)
        if all(part is not None for part in given):
            return self._with_given(None, X.shape[1])
        starts = []
        for _ in range(max(1, self.short_runs)):
            x, r, weight = self._start_moments(X, sample_weight, rng)
            make = start.from_labels if r.ndim == 1 else start.from_responsibilities
            shape = (self.n_components,) if r.ndim == 1 else ()
            mixture = make(
                x, r, *shape, sample_weight=weight, covariance_type=self.covariance_type,
                blur=self.reg_covar,
            )  # fmt: skip
            mixture = self._with_given(mixture, X.shape[1])
            if self.short_runs > 1:
                fit = em.fit(
                    x, mixture, sample_weight=weight, covariance_type=self.covariance_type,
                    variance_prior=self._prior(), blur=self.reg_covar, max_iter=10, tol=0.0,
                )  # fmt: skip
                starts.append((fit.objective[-1], fit.mixture))
            else:
                starts.append((0.0, mixture))
        return max(starts, key=lambda pair: pair[0])[1]

    def _with_given(self, mixture: Mixture | None, n_channels: int) -> Mixture:
        weights, means, covariances = (
            (None, None, None)
            if mixture is None
            else (mixture.weights, mixture.means, mixture.covariances)
        )
        if self.weights_init is not None:
            weights = np.asarray(self.weights_init, dtype=np.float64)
        if self.means_init is not None:
            means = np.asarray(self.means_init, dtype=np.float64)
        if self.precisions_init is not None:
            form = self._form()
            precisions = expand(self.precisions_init, form, self.n_components, n_channels)
            covariances = np.linalg.inv(precisions)
            if not np.isfinite(covariances).all():
                raise InputError("precisions_init is too close to zero to be inverted.")
            covariances = 0.5 * (covariances + covariances.transpose(0, 2, 1))
        return Mixture(weights, means, covariances)  # type: ignore[arg-type]

    def _run(
        self, step: Step, start: Mixture, report: Callable[[int, float], None] | None
    ) -> em.Fit:
        return em.iterate(
            step,
            start,
            variance_prior=self._prior(),
            covariance_type=self.covariance_type,
            blur=self.reg_covar,
            max_iter=self.max_iter,
            tol=self.tol,
            on_iteration=report,
        )

    def _accept(self, result: em.Fit, dtype: np.dtype) -> None:
        mixture = result.mixture
        if result.empty:
            warnings.warn(
                f"Components {list(result.empty)} lost all their samples and have weight zero; "
                f"ask for fewer components or more starts (n_init).",
                ConvergenceWarning,
                stacklevel=4,
            )
        self._keep(mixture.weights, mixture.means, mixture.covariances, self._form(), dtype)
        self.empty_components_ = result.empty

    def _current(self) -> Mixture:
        return self.mixture_

    def _terms(self) -> Terms:
        return terms_from(self.means_, self.weights_, self.precisions_cholesky_, self._form())
