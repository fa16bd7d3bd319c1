"""Checks of weights and of an estimator's settings, in scikit-learn's words where it has some."""

from __future__ import annotations

from numbers import Integral, Real
from typing import Any

import numpy as np

from gmmseg.checks import InputError


def check_number(
    estimator: Any, name: str, kind: type[Integral] | type[Real], least: float
) -> None:
    """Raise InputError unless a setting is a finite number of at least ``least``."""
    value: Any = getattr(estimator, name)
    is_number = isinstance(value, kind) and not isinstance(value, (bool, np.bool_))
    if not is_number or not least <= float(value) < np.inf:
        what = "a whole number" if kind is Integral else "a number"
        raise InputError(f"{name} must be {what} of at least {least}; got {value!r}.")


def finite_array(value: Any, shape: tuple[int, ...], name: str) -> np.ndarray:
    """A parameter as float64 of a given shape, or an InputError."""
    array = np.asarray(value, dtype=np.float64)
    if array.shape != shape:
        raise InputError(
            f"The parameter '{name}' should have the shape of {shape}, but got {array.shape}"
        )
    if not np.isfinite(array).all():
        raise InputError(f"The parameter '{name}' should be finite; it holds NaN or infinity.")
    return array


def weights_for(sample_weight: Any, n_samples: int, *, empty: bool = False) -> np.ndarray:
    """Weights as (N,) float64, or an InputError; ``empty`` lets them sum to zero."""
    weight = np.ascontiguousarray(sample_weight, dtype=np.float64)
    if weight.shape != (n_samples,):
        raise InputError(
            f"sample_weight must have shape ({n_samples},), one for each sample; "
            f"got {weight.shape}."
        )
    if not np.isfinite(weight).all() or (weight < 0).any():
        raise InputError("sample_weight must be finite and not negative.")
    if not empty and not weight.sum() > 0:
        raise InputError("sample_weight sums to zero; at least one sample must count.")
    return weight


def proportions(value: Any, n_components: int) -> np.ndarray:
    """Weights that sum to one, (K,)."""
    weights = finite_array(value, (n_components,), "weights")
    if (weights < 0).any() or (weights > 1).any():
        raise InputError(
            "The parameter 'weights' should be in the range [0, 1], but got max value "
            f"{weights.min():.5f}, min value {weights.max():.5f}"
        )
    if abs(1 - weights.sum()) > 1e-6:
        raise InputError(
            "The parameter 'weights' should be normalized, but got sum(weights) = "
            f"{weights.sum():.5f}"
        )
    return weights


def positive_matrices(value: Any, shape: tuple[int, ...], name: str) -> np.ndarray:
    """Variances, or symmetric positive definite matrices if ``shape`` ends in (C, C)."""
    array = finite_array(value, shape, name)
    if name.startswith(("diag", "spherical")):
        if not (array > 0).all():
            raise InputError(f"'{name}' should be positive")
        return array
    stack = array.reshape(-1, *shape[-2:])
    symmetric = np.allclose(stack, stack.transpose(0, 2, 1))
    if not symmetric or not (np.linalg.eigvalsh(stack) > 0).all():
        raise InputError(f"'{name}' should be symmetric, positive-definite")
    return array
