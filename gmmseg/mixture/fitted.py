"""What a fitted estimator answers: labels, densities, scores, samples, imputed values."""

# ruff: noqa: ARG002 (scikit-learn passes y to every estimator)

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, DensityMixin
from sklearn.utils import check_random_state
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data

from gmmseg.checks import InputError
from gmmseg.mixture import missing, passes
from gmmseg.mixture.blocks import is_stream, joined, reduce_blocks, refuse_weights
from gmmseg.mixture.forms import expand
from gmmseg.mixture.model import Mixture
from gmmseg.mixture.moments import Terms


def _blockwise(method: Callable[[Any, Any], np.ndarray]) -> Callable[[Any, Any], np.ndarray]:
    """Answer a stream block by block, and join the answers."""

    @functools.wraps(method)
    def answer(self: Any, X: Any) -> np.ndarray:
        if is_stream(X):
            check_is_fitted(self)
            return joined(X, functools.partial(method, self))
        return method(self, X)

    return answer


class FittedMixture(DensityMixin, BaseEstimator):
    """The part of either estimator that needs no more than its attributes.

    ``X`` is an (n_samples, n_features) array-like, or a stream as ``fit`` takes it.
    """

    covariance_type: str
    n_components: int
    random_state: Any
    weights_: np.ndarray
    means_: np.ndarray
    precisions_cholesky_: np.ndarray

    def _terms(self) -> Terms:
        """What the E-step needs, from the public attributes."""
        raise NotImplementedError

    def _seen(self, X: Any) -> np.ndarray:
        check_is_fitted(self)
        return validate_data(
            self,
            X,
            reset=False,
            dtype=[np.float64, np.float32],
            ensure_all_finite="allow-nan",
        )

    def _e_step(self, X: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        if missing.any_missing(X):
            return missing.responsibilities(X, self.mixture_, terms=self._terms())
        return passes.responsibilities(X, self._terms())

    def _slabs(self, X: np.ndarray) -> Iterator[slice]:
        """Rows whose posteriors take 64 MB, so that labels and densities need no more."""
        rows = max(4096, 2**23 // self.n_components)
        return (slice(first, first + rows) for first in range(0, len(X), rows))

    @_blockwise
    def predict(self, X: Any) -> np.ndarray:
        """Most probable component of each sample, (n_samples,) int64."""
        X = self._seen(X)
        labels = np.empty(len(X), dtype=np.int64)
        for rows in self._slabs(X):
            labels[rows] = self._e_step(X[rows])[0].argmax(axis=1)
        return labels

    @_blockwise
    def predict_proba(self, X: Any) -> np.ndarray:
        """Posterior of each component for each sample, (n_samples, n_components)."""
        X = self._seen(X)
        return self._e_step(X)[0].astype(X.dtype, copy=False)

    @_blockwise
    def score_samples(self, X: Any) -> np.ndarray:
        """Log density of each sample, (n_samples,), in nats.

        A sample with missing values has the density of the values it has.
        """
        X = self._seen(X)
        evidence = np.empty(len(X), dtype=X.dtype)
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
        total, log_likelihood, _ = self._sums(X, sample_weight)
        return float(log_likelihood / total)

    def _sums(self, X: Any, sample_weight: np.ndarray | None = None) -> np.ndarray:
        """Total weight, log likelihood, and log posterior of the labels, of all samples."""
        if is_stream(X):
            refuse_weights(sample_weight)
            check_is_fitted(self)
            return reduce_blocks(X, self._sums)
        X = self._seen(X)
        weight = np.ones(len(X))
        if sample_weight is not None:
            weight = checked_weights(sample_weight, X)
        sums = np.array([weight.sum(), 0.0, 0.0])
        for rows in self._slabs(X):
            posterior, evidence = self._e_step(X[rows])
            sums[1] += weight[rows] @ evidence
            sums[2] += weight[rows] @ np.log(posterior.max(axis=1))
        return sums

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
        state = random_state_of(self.random_state)
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


def checked_weights(sample_weight: Any, X: np.ndarray) -> np.ndarray:
    """Weights of as many samples as X has, none negative and not all zero, float64."""
    weight = np.asarray(_check_sample_weight(sample_weight, X, dtype=np.float64))
    if (weight < 0).any():
        raise InputError("sample_weight must not be negative.")
    return weight


def random_state_of(random_state: Any) -> np.random.RandomState:
    """A seed, RandomState, Generator or None as the RandomState that scikit-learn draws from."""
    if isinstance(random_state, np.random.Generator):
        return np.random.RandomState(random_state.integers(2**32, size=8, dtype=np.uint32))
    return check_random_state(random_state)
