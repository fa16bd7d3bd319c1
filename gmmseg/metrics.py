"""Agreement between segmentations."""

from __future__ import annotations

import numpy as np

from gmmseg.checks import InputError


def dice(predicted: np.ndarray, truth: np.ndarray) -> float:
    """Dice overlap of two masks [1]_: 1 where they agree, 0 where they are disjoint.

    Parameters
    ----------
    predicted, truth : (...) ndarray of bool

    Returns
    -------
    float
        NaN where both are empty.

    Raises
    ------
    InputError
        If the shapes differ.

    References
    ----------
    .. [1] Dice (1945), Ecology 26:297-302, doi 10.2307/1932409.

    >>> dice(np.array([True, True, False]), np.array([True, False, False]))
    0.6666666666666666
    """
    if predicted.shape != truth.shape:
        raise InputError(f"predicted has shape {predicted.shape} and truth {truth.shape}.")
    total = np.count_nonzero(predicted) + np.count_nonzero(truth)
    return float(2 * np.count_nonzero(predicted & truth) / total) if total else float("nan")


def dice_per_label(predicted: np.ndarray, truth: np.ndarray) -> dict[int, float]:
    """Dice of every label above 0 that occurs in either image.

    Parameters
    ----------
    predicted, truth : (...) ndarray of int

    Returns
    -------
    dict from label to Dice, in ascending order of label

    >>> dice_per_label(np.array([0, 1, 2, 2]), np.array([0, 1, 1, 2]))
    {1: 0.6666666666666666, 2: 0.6666666666666666}
    """
    present = np.union1d(np.unique(predicted), np.unique(truth))
    return {int(k): dice(predicted == k, truth == k) for k in present if k > 0}


def calibration_error(posteriors: np.ndarray, truth: np.ndarray, n_bins: int = 15) -> float:
    """Expected calibration error: how far confidence and accuracy lie apart [1]_.

    Sites are sorted into equal bins by the probability of their most probable class; the error is
    the mean over sites of the absolute difference between the share that is right in a bin and
    the mean probability there. 0.03 means that probabilities are off by 3 per cent.

    Parameters
    ----------
    posteriors : (..., K) ndarray, last axis sums to one
    truth : (...) ndarray of int
        True class of each site, 0 to K - 1.
    n_bins : int

    Returns
    -------
    float between 0 and 1; NaN without sites

    Raises
    ------
    InputError
        If the shapes do not match, or a class does not exist.

    References
    ----------
    .. [1] Guo et al. (2017), On calibration of modern neural networks, eq. 3, arXiv 1706.04599.

    >>> calibration_error(np.array([[0.9, 0.1], [0.9, 0.1]]), np.array([0, 1]))
    0.4
    """
    if posteriors.shape[:-1] != truth.shape:
        raise InputError(
            f"posteriors have shape {posteriors.shape} and truth {truth.shape}; truth needs "
            f"{posteriors.shape[:-1]}."
        )
    if truth.size and not 0 <= truth.min() <= truth.max() < posteriors.shape[-1]:
        raise InputError(
            f"truth has classes {truth.min()} to {truth.max()}; posteriors are of classes 0 to "
            f"{posteriors.shape[-1] - 1}."
        )
    if n_bins < 1:
        raise InputError(f"n_bins must be at least 1; got {n_bins}.")
    confidence = posteriors.max(axis=-1).ravel().astype(np.float64)
    right = (posteriors.argmax(axis=-1) == truth).ravel()
    place = np.clip((confidence * n_bins).astype(int), 0, n_bins - 1)
    gap = np.bincount(place, weights=right - confidence, minlength=n_bins)
    return float(np.abs(gap).sum() / truth.size) if truth.size else float("nan")
