"""How far a volume may be off: from undecided voxels, and from borders that all voxels share.

Were voxels wrong independently of each other, a volume of half a million of them would be known to
a thousandth, and no segmentation is that good. What moves a volume is what many voxels have in
common: their neighbours, and where the model draws its borders. ``docs/design.md``, "Volumes and
their intervals", has the reasoning and how the constants were calibrated.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

Z90 = 1.6449  # half-width of a central 90 % interval of a normal distribution, in its s.d.
CORRELATED_VOXELS = 8.0
"""Voxels that err together: sum of the autocorrelation of the residual over a neighbourhood."""
BORDER, FLUID_BORDER = 0.06, 0.09
"""Standard deviation of the border between two tissues, as a fraction of their contrast; CSF lies
in thin sheets, all of them mixed voxels, and its mean is the hardest to know."""
RIM = 1.6
"""Standard deviation, in nats, of the log odds of fluid at the rim against what lies outside."""
WINDOW = 0.1  # half-width, as a fraction of the contrast, in which a border's voxels are counted


def border_voxels(
    values: np.ndarray, labels: np.ndarray, means: Mapping[int, float]
) -> dict[tuple[int, int], float]:
    """Voxels that change their tissue if a border moves by the whole contrast between two.

    The density of intensities at the midpoint between the means of two tissues, counted among the
    voxels labelled as either, times the contrast. The unit of intensity cancels.

    Parameters
    ----------
    values : (N,) ndarray, corrected intensities
    labels : (N,) integer ndarray
    means : mapping of label to mean intensity

    Returns
    -------
    dict from pairs of labels, the smaller first, to voxels

    >>> values, labels = np.array([0.0, 0.45, 0.55, 1.0]), np.array([1, 1, 2, 2])
    >>> border_voxels(values, labels, {1: 0.0, 2: 1.0})
    {(1, 2): 10.0}
    """
    found: dict[tuple[int, int], float] = {}
    keys = sorted(means)
    for n, a in enumerate(keys):
        for b in keys[n + 1 :]:
            contrast = abs(means[b] - means[a])
            if not contrast > 0:
                continue
            near = np.abs(values - 0.5 * (means[a] + means[b])) <= WINDOW * contrast
            either = labels[near]
            count = np.count_nonzero((either == a) | (either == b))
            found[a, b] = float(count) / (2 * WINDOW)
    return found


def deviations(
    contacts: np.ndarray, borders: Mapping[tuple[int, int], float], fluid: int
) -> tuple[np.ndarray, float]:
    """Standard deviations of the volumes of the tissues and of the brain, in voxels.

    Three independent sources add up: voxels that are undecided, in clumps of
    ``CORRELATED_VOXELS``; the border between two tissues, which gives to the one what it takes
    from the other; the rim of the brain.

    Parameters
    ----------
    contacts : (T + 1, T + 1) ndarray
        As from :func:`gmmseg.spatial.ambiguity.contacts`; the last class is "outside".
    borders : mapping
        As from :func:`border_voxels`; label k + 1 is class k.
    fluid : int
        Label of CSF.

    Returns
    -------
    tissues : (T,) float64 ndarray
    brain : float
    """
    rim = contacts[:-1, -1]
    variance = CORRELATED_VOXELS * contacts[:-1].sum(axis=1) + (RIM * rim) ** 2
    for (a, b), voxels in borders.items():
        shift = FLUID_BORDER if fluid in (a, b) else BORDER
        variance[[a - 1, b - 1]] += (shift * voxels) ** 2
    brain = CORRELATED_VOXELS * rim.sum() + (RIM * rim.sum()) ** 2
    return np.sqrt(variance), float(np.sqrt(brain))
