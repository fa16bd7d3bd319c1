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
