"""How both estimators are fitted: scikit-learn's interface over the functions of the engine."""

# ruff: noqa: ARG002 (scikit-learn passes y to every estimator)

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable
from numbers import Integral, Real
from time import perf_counter
from typing import Any

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils.validation import validate_data

from gmmseg.checks import InputError
from gmmseg.mixture import blocks, em, missing, streaming
from gmmseg.mixture.fitted import FittedMixture, checked_weights, random_state_of
from gmmseg.mixture.forms import attributes_of
from gmmseg.mixture.levels import as_levels
from gmmseg.mixture.model import Mixture
from gmmseg.mixture.moments import Moments, Terms
from gmmseg.mixture.random_start import MOST_ROWS, rows_to_start_from
from gmmseg.mixture.settings import check_number

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
LARGEST = 1e100  # products of two squares still fit into double precision
Step = Callable[[Mixture, Terms], Moments]


class BaseMixture(FittedMixture):
    """Fitting, for either kind of mixture."""

    def fit(self, X: Any, y: Any = None, sample_weight: np.ndarray | None = None) -> BaseMixture:
        """Fit the mixture.

        Parameters
        ----------
        X : (n_samples, n_features) array-like
            float32 is read as it is; NaN is missing. One column of whole numbers is fitted
            as a histogram. For data larger than memory, a function that returns a fresh
            iterator over blocks (or pairs of a block and its weights), or a dask array.
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
        rng = random_state_of(self.random_state)
        stream = X if blocks.is_stream(X) else None
        if stream is not None:
            blocks.refuse_weights(sample_weight)
            step = streaming.stream_step(stream)
            X, sample_weight = blocks.rows_to_start_from(stream, MOST_ROWS, rng)
        X, sample_weight, dtype = self._validated(X, sample_weight)
        if len(X) < self.n_components:
            few = "n_samples" if sample_weight is None else "distinct samples"
            raise InputError(
                f"Expected n_samples >= n_components but got n_components = {self.n_components}, "
                f"{few} = {len(X)}"
            )
        self._check_columns(X)
        self._check_initial(X)
        warm = self.warm_start and hasattr(self, "converged_")
        if stream is None:
            step = em.stepper(X, sample_weight, None)
        self._survey(blocks.slabs_of(X, sample_weight) if stream is None else stream)
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
            sample_weight = checked_weights(sample_weight, X)
            if named and (sample_weight == 0).any():  # as good as absent, also for the start
                X, sample_weight = X[sample_weight > 0], sample_weight[sample_weight > 0]
        if named and levels is None:
            compressed = as_levels(X, sample_weight)
            if compressed is not None:
                return compressed[0].astype(X.dtype), compressed[1], X.dtype
        return X, sample_weight, X.dtype

    def _check_columns(self, X: np.ndarray) -> None:
        if X.dtype == np.float64:
            largest = max(np.fmax.reduce(X, axis=None), -np.fmin.reduce(X, axis=None))
            if largest > LARGEST:
                raise InputError(
                    f"X holds values up to {largest:.0e}, whose squares leave double precision "
                    f"(allowed: {LARGEST:.0e}). Rescale its columns."
                )
        if not missing.any_missing(X):
            return
        empty = np.flatnonzero(np.isnan(X).all(axis=0))
        if len(empty):
            raise InputError(
                f"column {empty[0]} of X holds no value at all (all NaN); leave it out."
            )

    def _check_settings(self) -> None:
        """Raise InputError for settings that make no sense."""
        check_number(self, "n_components", Integral, 1)
        check_number(self, "n_init", Integral, 1)
        check_number(self, "max_iter", Integral, 0)
        check_number(self, "verbose_interval", Integral, 1)
        check_number(self, "tol", Real, 0.0)
        check_number(self, "reg_covar", Real, 0.0)
        if isinstance(self.init_params, str) and self.init_params not in INITS:
            raise InputError(
                f"init_params must be one of {', '.join(INITS)} or an array of labels; "
                f"got {self.init_params!r}."
            )

    def _check_initial(self, X: np.ndarray) -> None:
        """Raise InputError for initial parameters that do not fit the data."""

    def _survey(self, X: Any) -> None:
        """Look at all samples, a stream, before any start."""

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

    def _keep(
        self, weights: np.ndarray, means: np.ndarray, covariances: np.ndarray, form: str, dtype: Any
    ) -> None:
        values = attributes_of(weights, means, covariances, form, dtype)
        for name, value in values.items():
            setattr(self, name, value)

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
