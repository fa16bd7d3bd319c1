"""Neighbours on a grid: who they are, how strongly they are coupled, in which order they change."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from gmmseg.checks import InputError

AXIS_ONLY = {2: 4, 3: 6}  # neighbours that share a side
ALL_AROUND = {2: 8, 3: 26}  # and those that share a corner


@dataclass(frozen=True, slots=True, eq=False)
class Neighbourhood:
    """Offsets to the neighbours of a site of a (Z, Y, X) grid, and the couplings to them.

    Attributes
    ----------
    shape : (3,) tuple of int; two-dimensional grids are one plane
    offsets : (M, 3) int64 ndarray, steps along Z, Y, X; both directions of each pair
    weights : (M,) float32 ndarray, no unit; sum to twice the number of axes
    """

    shape: tuple[int, int, int]
    offsets: np.ndarray
    weights: np.ndarray


@dataclass(frozen=True, slots=True, eq=False)
class Colour:
    """Sites without neighbours among themselves, which can change all at once.

    Attributes
    ----------
    rows : (R,) int64 ndarray, rows of the grid (``z * height + y``) with sites of the colour
    parities : (R,) int64 ndarray, 0 or 1: which columns of each row
    later : (M,) bool ndarray, neighbours whose colour has its turn afterwards
    """

    rows: np.ndarray
    parities: np.ndarray
    later: np.ndarray


def neighbourhood(
    shape: tuple[int, ...],
    *,
    spacing: Sequence[float] | np.ndarray | None = None,
    neighbours: int | None = None,
) -> Neighbourhood:
    """Neighbours with couplings inverse to their distance.

    Parameters
    ----------
    shape : (2,) or (3,) tuple of int
    spacing : (2,) or (3,) array-like, optional
        Size of a pixel along each axis, in any one unit; 1 by default.
    neighbours : {4, 8} in 2-D, {6, 26} in 3-D, optional
        By default 4 and 6.

    Returns
    -------
    Neighbourhood
        Weights sum to two for each axis: to 4 in two dimensions and to 6 in three, whatever
        the neighbourhood, so that one strength serves all. An axis of one site has no
        neighbours and does not count: one slice of a volume is an image.

    Examples
    --------
    >>> neighbourhood((5, 5), neighbours=8).weights.sum().round(5)
    np.float32(4.0)
    """
    ndim = len(shape)
    if ndim not in AXIS_ONLY:
        raise InputError(f"a Potts field needs an image of 2 or 3 dimensions; got {ndim}.")
    allowed = (AXIS_ONLY[ndim], ALL_AROUND[ndim])
    if neighbours is None:
        neighbours = allowed[0]
    if neighbours not in allowed:
        raise InputError(
            f"neighbours must be {allowed[0]} or {allowed[1]} in {ndim} dimensions; "
            f"got {neighbours}."
        )
    size = np.ones(ndim) if spacing is None else np.asarray(spacing, np.float64)
    if size.shape != (ndim,) or not (np.isfinite(size) & (size > 0)).all():
        raise InputError(
            f"spacing must be {ndim} positive numbers, one for each axis of the image; "
            f"got {spacing}."
        )
    size = np.concatenate([np.ones(3 - ndim), size])
    grid = (1,) * (3 - ndim) + tuple(shape)
    real = np.array(grid) > 1
    offsets = np.array([(z, y, x) for z in (-1, 0, 1) for y in (-1, 0, 1) for x in (-1, 0, 1)])
    steps = np.abs(offsets).sum(axis=1)
    near = steps == 1 if neighbours == AXIS_ONLY[ndim] else steps > 0
    offsets = offsets[near & (offsets[:, ~real] == 0).all(axis=1)]
    inverse = 1.0 / np.linalg.norm(offsets * size, axis=1)
    weights = 2.0 * np.count_nonzero(real) * inverse / max(inverse.sum(), 1e-300)
    return Neighbourhood(grid, offsets, weights.astype(np.float32))  # type: ignore[arg-type]


def colours(hood: Neighbourhood) -> list[Colour]:
    """Colours in the order of their turns.

    Two where neighbours share a side (a checkerboard), else one for each corner of a cell: 4
    in two dimensions, 8 in three.
    """
    depth, height, _ = hood.shape
    rows = np.arange(depth * height)
    z, y = rows // height, rows % height
    turn = np.abs(hood.offsets)
    if (turn.sum(axis=1) == 1).all():
        everyone = np.ones(len(turn), bool)
        return [
            Colour(rows, (z + y) % 2, everyone),
            Colour(rows, (z + y + 1) % 2, ~everyone),
        ]
    out = []
    flips = turn @ (4, 2, 1)
    for corner in range(8):
        here = (z % 2 == corner // 4) & (y % 2 == corner // 2 % 2)
        if here.any():
            parity = np.full(np.count_nonzero(here), corner % 2)
            out.append(Colour(rows[here], parity, (corner ^ flips) > corner))
    return out


def pair_sharpness(image: np.ndarray, active: np.ndarray | None = None) -> float:
    r"""Sharpness of contrast-sensitive couplings: 1 over twice the mean squared difference.

    Parameters
    ----------
    image : (Z, Y, X) float32 ndarray
    active : (Z, Y, X) bool ndarray, optional
        Pairs count where both sites are active.

    Returns
    -------
    float
        :math:`1 / (2 \sigma^2)` with :math:`\sigma^2` the mean over neighbours that share
        a side; 0, which couples all alike, where no two of them differ.

    References
    ----------
    Blake, Rother, Brown, Perez & Torr (2004), ECCV, eq. 7, doi 10.1007/978-3-540-24670-1_33.
    """
    total, count = 0.0, 0
    for axis in range(image.ndim):
        for part in _slabs(image, axis):
            squares = np.square(np.diff(image[part], axis=axis), dtype=np.float64)
            if active is not None:
                inside = np.moveaxis(active[part], axis, 0)
                squares = squares[np.moveaxis(inside[1:] & inside[:-1], 0, axis)]
            total += float(squares.sum())
            count += squares.size
    return 0.5 * count / total if total > 0 else 0.0


def _slabs(image: np.ndarray, axis: int) -> list[tuple[slice, ...]]:
    """Parts of an image, cut across another axis, so that differences take little memory."""
    across = max((n, a) for a, n in enumerate(image.shape) if a != axis)[1]
    step = max(1, 2**22 // max(image.size // image.shape[across], 1))
    return [
        tuple(slice(k, k + step) if a == across else slice(None) for a in range(image.ndim))
        for k in range(0, image.shape[across], step)
    ]
