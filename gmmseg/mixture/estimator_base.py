"""What both estimators share: the scikit-learn interface over the functions of the engine.

This is the only part of the engine that imports scikit-learn, and nothing imports it but
the estimators, so ``import gmmseg`` stays quick.
"""

# ruff: noqa: ARG002 (scikit-learn passes y to every estimator)

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Iterator
from numbers import Integral, Real
from time import perf_counter
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, DensityMixin
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import check_random_state
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data

from gmmseg.checks import InputError
from gmmseg.mixture import em, missing, moments, streaming
from gmmseg.mixture.forms import expand
from gmmseg.mixture.levels import as_levels
from gmmseg.mixture.model import Mixture
from gmmseg.mixture.moments import Moments, Terms
from gmmseg.mixture.random_start import rows_to_start_from

ILL_DEFINED = (
    "Fitting the mixture model failed because some components have ill-defined empirical "
    "covariance (for instance caused by singleton or collapsed samples). Try to decrease the "
    "number of components, increase reg_covar, or scale the input data."
)
NOT_CONVERGED = (
    "Best performing initialization did not converge. Try different init parameters, or "
    "increase max_iter, tol, or check for degenerate data."
)
INITS = ("kmeans", "k-means++", "random", "random_from_data", "quantile", "hierarchical")
Step = Callable[[Mixture, Terms], Moments]


class BaseMixture(DensityMixin, BaseEstimator):
    """Fitting, labels, densities and samples, for either kind of mixture."""

    def fit(self, X: Any, y: Any = None, sample_weight: np.ndarray | None = None) -> BaseMixture:
        """Fit the mixture.

        Parameters
        ----------
        X : (n_samples, n_features) array-like
            float32 is read as it is; NaN is missing. One column of whole numbers is fitted
            as a histogram. For data larger than memory, a function that returns a fresh
            iterator over blocks (or pairs of a block and its weights), or a dask array;
            the start is then made from the first block.
        y : ignored
        sample_weight : (n_samples,) array-like, optional
            How many samples each row stands for.

        Returns
        -------
        self

        Raises
        ------
        InputError
            A ``ValueError``: if parameters or data make no sense, or a component collapses.
        """
        self._fit(X, sample_weight)
        return self

    def fit_predict(
        self,
        X: Any,
        y: Any = None,
        sample_weight: np.ndarray | None = None,
    ) -> np.ndarray:
        """Fit, and the most probable component of each sample, (n_samples,) int64."""
        return self._fit(X, sample_weight).predict(X)

    def _fit(self, X: Any, sample_weight: np.ndarray | None) -> BaseMixture:
        self._check_settings()
        stream = X if streaming.is_stream(X) else None
        if stream is not None:
            step = streaming.stream_step(stream)
            X, sample_weight = streaming.first_block(stream)
        X, sample_weight, dtype = self._validated(X, sample_weight)
        if len(X) < self.n_components:
            raise InputError(
                "Expected n_samples >= n_components "
                f"but got n_components = {self.n_components}, n_samples = {len(X)}"
            )
        self._check_columns(X)
        self._check_initial(X)
        warm = self.warm_start and hasattr(self, "converged_")
        if stream is None:
            step = em.stepper(X, sample_weight, None)
        rng = _random_state(self.random_state)
        best: Any = None
        try:
            for run in range(1 if warm else self.n_init):
                start = self._current() if warm else self._start(X, sample_weight, rng)
                result = self._run(step, start, self._reporter(run))
                if best is None or result.objective[-1] > best.objective[-1]:
                    best = result
        except (InputError, np.linalg.LinAlgError) as error:
            if isinstance(error, InputError) and "singular" not in str(error):
                raise
            raise InputError(f"{ILL_DEFINED} ({error})") from None
        if not best.converged and self.max_iter > 0:
            warnings.warn(NOT_CONVERGED, ConvergenceWarning, stacklevel=3)
        self._accept(best, dtype)
        self.converged_ = best.converged
        self.n_iter_ = best.n_iter
        self.lower_bound_ = float(best.objective[-1])
        self.lower_bounds_ = best.objective[1:].tolist()
        return self

    def _validated(
        self, X: Any, sample_weight: np.ndarray | None
    ) -> tuple[np.ndarray, np.ndarray | None, np.dtype]:
        """Samples as floats, or as weighted levels if they are one column of integers."""
        named = isinstance(self.init_params, str)  # labels to start from go with the rows
        levels = as_levels(X, sample_weight) if named else None
        if levels is not None:
            X, sample_weight = levels
        X = validate_data(
            self,
            X,
            dtype=[np.float64, np.float32],
            ensure_min_samples=1 if levels is not None else 2,
            ensure_all_finite="allow-nan",
        )
        if sample_weight is not None:
            sample_weight = _check_sample_weight(sample_weight, X, dtype=np.float64)
            if (sample_weight < 0).any():
                raise InputError("sample_weight must not be negative.")
            if (
                named and (sample_weight == 0).any()
            ):  # such rows are as good as absent, also for the start
                X, sample_weight = X[sample_weight > 0], sample_weight[sample_weight > 0]
        if named and levels is None:
            compressed = as_levels(X, sample_weight)
            if compressed is not None:
                return compressed[0].astype(X.dtype), compressed[1], X.dtype
        return X, sample_weight, X.dtype

    def _check_columns(self, X: np.ndarray) -> None:
        if not missing.any_missing(X):
            return
        empty = np.flatnonzero(np.isnan(X).all(axis=0))
        if len(empty):
            raise InputError(
                f"column {empty[0]} of X holds no value at all (all NaN); leave it out."
            )

    def _check_settings(self) -> None:
        """Raise InputError for settings that make no sense."""
        _check_number(self, "n_components", Integral, 1)
        _check_number(self, "n_init", Integral, 1)
        _check_number(self, "max_iter", Integral, 0)
        _check_number(self, "verbose_interval", Integral, 1)
        _check_number(self, "tol", Real, 0.0)
        _check_number(self, "reg_covar", Real, 0.0)
        if isinstance(self.init_params, str) and self.init_params not in INITS:
            raise InputError(
                f"init_params must be one of {', '.join(INITS)} or an array of labels; "
                f"got {self.init_params!r}."
            )

    def _check_initial(self, X: np.ndarray) -> None:
        """Raise InputError for initial parameters that do not fit the data."""

    def _start(
        self, X: np.ndarray, sample_weight: np.ndarray | None, rng: np.random.RandomState
    ) -> Any:
        raise NotImplementedError

    def _run(self, step: Step, start: Any, report: Callable[[int, float], None] | None) -> Any:
        raise NotImplementedError

    def _accept(self, result: Any, dtype: np.dtype) -> None:
        raise NotImplementedError

    def _current(self) -> Any:
        raise NotImplementedError

    def _terms(self) -> Terms:
        """What the E-step needs, from the public attributes."""
        raise NotImplementedError

    def _start_moments(
        self, X: np.ndarray, sample_weight: np.ndarray | None, rng: np.random.RandomState
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
        """Rows (a subsample of many), labels or responsibilities, and weights to start from."""
        return rows_to_start_from(X, self.n_components, self.init_params, sample_weight, rng)

    def _reporter(self, run: int) -> Callable[[int, float], None] | None:
        if not self.verbose:
            return None
        sys.stdout.write(f"Initialization {run}\n")
        clock = [perf_counter()]

        def report(n_iter: int, value: float) -> None:
            if n_iter % self.verbose_interval:
                return
            now = perf_counter()
            extra = f"\t time lapse {now - clock[0]:.5f}s\t lower bound {value:.5f}"
            sys.stdout.write(f"  Iteration {n_iter}" + (extra if self.verbose >= 2 else "") + "\n")
            clock[0] = now

        return report

    def _seen(self, X: Any) -> np.ndarray:
        check_is_fitted(self)
        return validate_data(
            self,
            X,
            reset=False,
            dtype=[np.float64, np.float32],
            ensure_all_finite="allow-nan",
        )

    def _posteriors(self, X: Any) -> tuple[np.ndarray, np.ndarray, np.dtype]:
        X = self._seen(X)
        return *self._e_step(X), X.dtype

    def _e_step(self, X: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        if missing.any_missing(X):
            return missing.responsibilities(X, self.mixture_, terms=self._terms())
        return moments.responsibilities(X, self._terms())

    def _slabs(self, X: np.ndarray) -> Iterator[slice]:
        """Rows whose posteriors take 64 MB, so that labels and densities need no more."""
        rows = max(4096, 2**23 // self.n_components)
        return (slice(first, first + rows) for first in range(0, len(X), rows))

    def predict(self, X: Any) -> np.ndarray:
        """Most probable component of each sample, (n_samples,) int64."""
        X = self._seen(X)
        labels = np.empty(len(X), dtype=np.int64)
        for rows in self._slabs(X):
            labels[rows] = self._e_step(X[rows])[0].argmax(axis=1)
        return labels

    def predict_proba(self, X: Any) -> np.ndarray:
        """Posterior of each component for each sample, (n_samples, n_components)."""
        posterior, _, dtype = self._posteriors(X)
        return posterior.astype(dtype, copy=False)

    def score_samples(self, X: Any) -> np.ndarray:
        """Log density of each sample, (n_samples,), in nats.

        A sample with missing values has the density of the values it has.
        """
        X = self._seen(X)
        return self._evidence(X).astype(X.dtype, copy=False)

    def _evidence(self, X: np.ndarray) -> np.ndarray:
        evidence = np.empty(len(X))
        for rows in self._slabs(X):
            evidence[rows] = self._e_step(X[rows])[1]
        return evidence

    def score(
        self,
        X: Any,
        y: Any = None,
        sample_weight: np.ndarray | None = None,
    ) -> float:
        """Mean log density of samples, in nats."""
        evidence = self.score_samples(X)
        return float(np.average(evidence, weights=weights_for(sample_weight, evidence)))

    def sample(self, n_samples: int = 1) -> tuple[np.ndarray, np.ndarray]:
        """Draw samples, sorted by component.

        Parameters
        ----------
        n_samples : int

        Returns
        -------
        X : (n_samples, n_features) ndarray
        y : (n_samples,) int ndarray
            Component of each.
        """
        check_is_fitted(self)
        if n_samples < 1:
            raise InputError(
                f"Invalid value for 'n_samples': {n_samples} . The sampling requires at least "
                f"one sample."
            )
        state = _random_state(self.random_state)
        rng = np.random.default_rng(state.randint(2**31 - 1, size=4))
        X, y = self.mixture_.sample(n_samples, rng)
        order = np.argsort(y, kind="stable")
        return X[order], y[order]

    def impute(self, X: Any) -> np.ndarray:
        """Missing values replaced by their expectation given the values that are there.

        Parameters
        ----------
        X : (n_samples, n_features) array-like, NaN where missing

        Returns
        -------
        (n_samples, n_features) ndarray of the dtype of X; values that were there are kept
        """
        X = self._seen(X)
        return missing.conditional_means(X, self.mixture_).astype(X.dtype, copy=False)

    @property
    def mixture_(self) -> Mixture:
        """The fitted mixture, for all that :mod:`gmmseg.mixture` does with one."""
        check_is_fitted(self)
        weights = np.asarray(self.weights_, dtype=np.float64)
        return Mixture(weights / weights.sum(), self.means_, self._full_covariances())

    def _full_covariances(self) -> np.ndarray:
        """Covariances (K, C, C) from ``precisions_cholesky_``: definite in float32 too."""
        form = str(getattr(self, "covariance_type_", self.covariance_type))
        upper = expand(self.precisions_cholesky_, form, *self.means_.shape)
        factor = np.linalg.inv(upper)
        return factor.transpose(0, 2, 1) @ factor

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        return tags


def weights_for(sample_weight: np.ndarray | None, like: np.ndarray) -> np.ndarray | None:
    """Checked weights of as many rows as ``like`` has, or None."""
    if sample_weight is None:
        return None
    return _check_sample_weight(sample_weight, like[:, None], dtype=np.float64)


def _random_state(random_state: Any) -> np.random.RandomState:
    if isinstance(random_state, np.random.Generator):
        return np.random.RandomState(random_state.integers(2**32, size=8, dtype=np.uint32))
    return check_random_state(random_state)


def _check_number(
    estimator: Any, name: str, kind: type[Integral] | type[Real], least: float
) -> None:
    value: Any = getattr(estimator, name)
    is_number = isinstance(value, kind) and not isinstance(value, (bool, np.bool_))
    if not is_number or not float(value) >= least:
        what = "a whole number" if kind is Integral else "a number"
        raise InputError(f"{name} must be {what} of at least {least}; got {value!r}.")
