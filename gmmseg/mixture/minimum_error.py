r"""Thresholds of least classification error on a histogram (Kittler & Illingworth 1986).

Each class is taken to be Gaussian, with the weight, mean and variance of the bins between two
thresholds; the thresholds sought are those under which bins are encoded shortest,

.. math:: J = 1 + 2 \sum_k P_k (\log \sigma_k - \log P_k).
"""

from __future__ import annotations

import numpy as np

from gmmseg.checks import InputError

MOST_BINS = 512
"""Bins among which thresholds of more than two classes are sought; finer ones are joined."""


def minimum_error_thresholds(
    counts: np.ndarray, centres: np.ndarray, n_classes: int = 2
) -> np.ndarray:
    """Thresholds that minimise the criterion of Kittler and Illingworth, exactly.

    Parameters
    ----------
    counts : (B,) array-like
        Pixels in each bin; not negative.
    centres : (B,) array-like
        Bin centres, rising, image units.
    n_classes : int
        For two classes all bins are tried; for more, by dynamic programming, on at most
        :data:`MOST_BINS` joined bins.

    Returns
    -------
    (n_classes - 1,) float64 ndarray, rising, each midway between the bins it parts

    Raises
    ------
    InputError
        If fewer bins than classes are occupied.

    References
    ----------
    .. [1] Kittler & Illingworth (1986), Pattern Recognition 19:41, doi
           10.1016/0031-3203(86)90030-0, eq. 15.

    Examples
    --------
    >>> counts = [1, 6, 9, 6, 1, 1, 5, 8, 5, 1]
    >>> minimum_error_thresholds(counts, range(10))
    array([4.5])
    """
    counts = np.asarray(counts, np.float64).ravel()
    centres = np.asarray(centres, np.float64).ravel()
    used = counts > 0
    counts, centres = counts[used], centres[used]
    if len(counts) < n_classes:
        raise InputError(
            f"The image has {len(counts)} distinct values, too few for {n_classes} classes; "
            f"ask for fewer."
        )
    ends = np.arange(1, len(counts) + 1)  # bins before which a class may end
    if n_classes > 2 and len(counts) > MOST_BINS:
        ends = np.unique(np.linspace(1, len(counts), MOST_BINS).round().astype(int))
    # Sums from the left; measured from the middle, or the variance would be a small difference.
    scale = np.ptp(centres) or 1.0
    x = (centres - centres.mean()) / scale
    gap = np.diff(x).min() if len(x) > 1 else 1.0
    p = counts / counts.sum()
    sums = np.stack([np.cumsum(p), np.cumsum(p * x), np.cumsum(p * x * x)])[:, ends - 1]
    sums = np.concatenate([np.zeros((3, 1)), sums], axis=1)
    best = _cost(sums[:, 1:], gap)  # of one class that ends at each place
    choice = []
    for k in range(1, n_classes):
        # (start, end): the classes so far end at `start`, one more lies between it and `end`;
        # the last class can only end with the last bin
        last = sums[:, None, -1:] if k == n_classes - 1 else sums[:, None, 1:]
        cost = best[:, None] + _cost(last - sums[:, 1:, None], gap)
        choice.append(cost.argmin(axis=0))
        best = cost.min(axis=0)
    if not np.isfinite(best[-1]):
        raise InputError(f"The histogram cannot be cut into {n_classes} classes; ask for fewer.")
    at, cuts = -1, []
    for starts in reversed(choice):
        at = starts[at]
        cuts.append(0.5 * (centres[ends[at] - 1] + centres[ends[at]]))
    return np.array(cuts[::-1])


def _cost(sums: np.ndarray, gap: float) -> np.ndarray:
    """Nats per pixel that classes with these sums (weight, first and second moment) add.

    A class is no narrower than its values are spaced, or one value alone would cost nothing.
    """
    weight = np.maximum(sums[0], 0.0)
    with np.errstate(divide="ignore", invalid="ignore"):
        mean = sums[1] / weight
        variance = np.maximum(sums[2] / weight - mean**2, gap**2 / 12)
        cost = weight * (0.5 * np.log(variance) - np.log(weight))
    return np.where(weight > 1e-15, cost, np.inf)
