"""Where the affine alignment starts: guesses of the map from a scan to the template."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import numpy as np

BRAIN_TOP_MM = 78.0  # z of the top of the template's brain
ABOVE_MM = 10.0  # how far the top of a head lies above that of its brain
MIDDLE_MM = np.array([0.0, -18.0, 10.0])  # of the template's brain, between its sides
NEAR_MM = 150.0  # of a head, from its top, over which its middle is taken: no neck or shoulders
UPPER_MM = 120.0  # of a head, from its top, over which its width and length are taken
HEAD_MM, BRAIN_MM = np.array([143.0, 173.0]), np.array([115.0, 145.0])
"""Width and length of an adult's head and brain, between the 2 and 98 per cent quantiles: means of
nine and of nine, which lie within a tenth of them."""
SAME_SIZE = (0.9, 1.1)  # of the usual: from here the alignment finds the size by itself
SCALES = (0.7, 1.45)
SHRUNK, SHRUNK_COSTS = 1.25, 0.05
"""A size tried though the head does not show it, and nats per voxel that it has to gain: fourteen
heads as they come gain .04 at most, squashed to .7 or .75 along one side .054 to .2."""


@dataclass(frozen=True, slots=True, eq=False)
class Start:
    """A guess of the map from a scan to the template.

    Attributes
    ----------
    matrix : (4, 4) float64 ndarray, world mm to template mm
    size : float, how much all lengths may be stretched without strain
    cost : float, nats per voxel by which a map of this size must be better than others
    """

    matrix: np.ndarray
    size: float = 1.0
    cost: float = 0.0


def starting_points(points: np.ndarray, *, alone: bool = False) -> list[Start]:
    """Guesses of the map from world to template for a head.

    The top of the head and the median of x and y fix the translation; the head may be pitched back
    or forth, so several pitches are tried about the middle of the brain, and it may be turned
    sideways or carry something on top, so that several heights are. Where it is both narrower and
    shorter than heads are (a child's), or wider and longer, so are some guesses. A head that is
    cut off at one side is narrow alone, and so is one whose header gives one side of the voxels
    too small: some guesses of a head of usual extent are of a small one, and have to be better by
    more than weaker strain gives to heads as they come.

    Parameters
    ----------
    points : (N, 3) float64 ndarray, world coordinates of the head's samples, mm (RAS+)
    alone : bool, whether they are those of the brain alone, whose height is known

    Returns
    -------
    list of Start
    """
    above = [0.0] if alone else [ABOVE_MM, ABOVE_MM - 20.0]
    guesses = [(1.0, mm, 0.0) for mm in above]
    sizes = _extent(points) / (BRAIN_MM if alone else HEAD_MM)
    if sizes.max() < SAME_SIZE[0] or sizes.min() > SAME_SIZE[1]:
        size = max(float(np.sqrt(sizes.prod())), 1e-9)
        guesses.append((float(np.clip(1 / size, *SCALES)), above[0], 0.0))
    elif not alone:
        guesses.append((SHRUNK, above[0], SHRUNK_COSTS))
    top = np.quantile(points[:, 2], 0.998)
    starts = []
    for (scale, mm, cost), pitch in product(guesses, np.deg2rad([0.0, -20.0, 20.0])):
        near = points[points[:, 2] > top - NEAR_MM / scale]
        centre = np.array([np.median(near[:, 0]), np.median(near[:, 1]), top])
        placed = np.diag([scale, scale, scale, 1.0])
        placed[:3, 3] = [0.0, MIDDLE_MM[1], BRAIN_TOP_MM + mm]
        placed[:3, 3] -= scale * centre
        c, s = np.cos(pitch), np.sin(pitch)
        turn = np.eye(4)
        turn[1:3, 1:3] = [[c, -s], [s, c]]
        middle = np.eye(4)
        middle[:3, 3] = MIDDLE_MM
        matrix = middle @ turn @ np.linalg.inv(middle) @ placed
        starts.append(Start(matrix, scale, cost))
    return starts


def _extent(points: np.ndarray) -> np.ndarray:
    """Extent (2,) of the upper part of a head (N, 3) along x and y, mm."""
    upper = points[points[:, 2] > np.quantile(points[:, 2], 0.998) - UPPER_MM]
    return np.asarray(np.ptp(np.quantile(upper[:, :2], [0.02, 0.98], axis=0), axis=0))
