"""What a class of several Gaussians has as a whole."""

from __future__ import annotations

import numpy as np


def class_averages(
    values: np.ndarray, weights: np.ndarray, owner: np.ndarray, n_classes: int
) -> np.ndarray:
    """Average of each class over its Gaussians, each counted by its weight.

    Of means it gives the mean of the class. Of variances it gives the variance within its
    Gaussians; how far apart these lie is not in it.

    Parameters
    ----------
    values : (M,) ndarray, of each Gaussian
    weights : (M,) ndarray, above 0; their scale within a class does not matter
    owner : (M,) integer ndarray, class of each Gaussian
    n_classes : int

    Returns
    -------
    (K,) float64 ndarray, in the unit of ``values``; NaN for a class without a Gaussian

    >>> class_averages(np.array([20.0, 90, 110]), np.array([1, 1, 3]), np.array([0, 2, 2]), 3)
    array([ 20.,  nan, 105.])
    """
    total = np.bincount(owner, weights, n_classes)
    summed = np.bincount(owner, weights * values, n_classes)
    return np.divide(summed, total, out=np.full(n_classes, np.nan), where=total > 0)


def class_spreads(
    means: np.ndarray, variances: np.ndarray, weights: np.ndarray, owner: np.ndarray, n_classes: int
) -> np.ndarray:
    """Standard deviation of each class: that of its Gaussians, and how far apart these lie.

    It does not hang on how many Gaussians share a class, as that of any one of them does.

    Parameters
    ----------
    means, variances : (M,) ndarrays, of each Gaussian
    weights, owner, n_classes :
        As for :func:`class_averages`.

    Returns
    -------
    (K,) float64 ndarray, in the unit of ``means``; NaN for a class without a Gaussian

    >>> means, variances = np.array([20.0, 90, 110]), np.array([9.0, 21, 21])
    >>> class_spreads(means, variances, np.ones(3), np.array([0, 2, 2]), 3)
    array([ 3., nan, 11.])
    """
    centres = class_averages(means, weights, owner, n_classes)
    within_and_between = variances + (means - centres[owner]) ** 2
    return np.sqrt(class_averages(within_and_between, weights, owner, n_classes))
