"""Slices of one value: lost on the way where the others show a head, or no part of the scan."""

from __future__ import annotations

import numpy as np

THIN = 4  # every so many voxels are looked at first
BUSY = 0.05
"""Share of a slice that differs from its corner where it shows a head: specks in the air do not."""


def lost_slices(data: np.ndarray) -> list[tuple[int, int]]:
    """Slices of one value between slices that are not.

    Taken for background, one of them would cut the brain in two.

    Parameters
    ----------
    data : (X, Y, Z) float ndarray; slices without a finite voxel are known to be missing

    Returns
    -------
    list of (axis, index)

    >>> data = np.arange(5 * 6 * 7, dtype=float).reshape(5, 6, 7)
    >>> data[0] = data[:, 3] = 0  # the first is the background that the head ends in
    >>> lost_slices(data)
    [(1, 3)]
    >>> data = np.zeros((9, 40, 40))
    >>> data[:4], data[8, 0, 4] = np.arange(1600.0).reshape(40, 40), 1.0
    >>> lost_slices(data)  # the last slice has a speck of noise
    []
    >>> data[2], data[6, 0, 0] = np.nan, np.nan
    >>> lost_slices(data)
    []
    >>> data[:, :2], data[1, 2:] = np.nan, 0.0
    >>> lost_slices(data)
    [(0, 1)]
    """
    found = []
    for axis in range(data.ndim):
        share = _share_shown(data, axis)
        busy = np.flatnonzero(share > BUSY)
        if busy.size:
            planes, between = np.moveaxis(data, axis, 0), range(busy[0], busy[-1])
            empty = [index for index in between if share[index] == 0]
            found += [(axis, int(i)) for i in empty if np.isfinite(planes[i]).any()]
    return found


def shown_box(data: np.ndarray) -> tuple[slice, slice, slice]:
    """Where a scan (X, Y, Z) shows something: without slices of one value, or none, at either end.

    >>> data = np.arange(5 * 6 * 7, dtype=float).reshape(5, 6, 7)
    >>> data[:2] = 0
    >>> shown_box(data)
    (slice(2, 5, None), slice(0, 6, None), slice(0, 7, None))
    >>> data[:, :, 4:] = np.nan
    >>> shown_box(data)
    (slice(2, 5, None), slice(0, 6, None), slice(0, 4, None))
    """
    sides = []
    for axis in range(data.ndim):
        shown = np.flatnonzero(_share_shown(data, axis))
        sides.append(slice(int(shown[0]), int(shown[-1]) + 1) if shown.size else slice(None))
    return sides[0], sides[1], sides[2]


def _share_shown(data: np.ndarray, axis: int) -> np.ndarray:
    """(n,) share of each slice across an axis that differs from its corner; 0 for one value.

    Missing voxels differ from nothing; where the corner is one, another stands for it.
    """
    planes = np.moveaxis(data, axis, 0)
    few = planes[:, ::THIN, ::THIN]
    share = np.asarray(((few != few[:, :1, :1]) & (few == few)).mean(axis=(1, 2)))
    for index in np.flatnonzero(np.isnan(few[:, 0, 0])):
        share[index] = _share_unlike(few[index])
    for index in np.flatnonzero(share == 0):  # what lies between the voxels looked at
        share[index] = _share_unlike(planes[index])
    return share


def _share_unlike(plane: np.ndarray) -> float:
    """Share of a slice that differs from the first of its voxels that is not missing."""
    known = ~np.isnan(plane)
    first = plane[np.unravel_index(known.argmax(), plane.shape)]
    return float(((plane != first) & known).mean())


def without(data: np.ndarray, slices: list[tuple[int, int]]) -> np.ndarray:
    """The data with slices, as :func:`lost_slices` names them, missing; a copy where there are any.

    >>> without(np.ones((3, 1, 1)), [(0, 1)]).ravel().tolist()
    [1.0, nan, 1.0]
    """
    if not slices:
        return data
    holed = data.copy()
    for axis, index in slices:
        np.moveaxis(holed, axis, 0)[index] = np.nan
    return holed


def remark(slices: list[tuple[int, int]]) -> tuple[str, ...]:
    """What to say of lost slices, if anything.

    >>> remark([(2, 70)])
    ('Slice 70 (from 0) of axis 3 has one value throughout, unlike those around it; treated as missing.',)
    """  # noqa: E501 (a sentence that is printed on one line)
    if not slices:
        return ()
    axis, index = slices[0]
    more = f" and {len(slices) - 1} more have" if len(slices) > 1 else " has"
    around = "them" if len(slices) > 1 else "it"
    sentence = (
        f"Slice {index} (from 0) of axis {axis + 1}{more} one value throughout, unlike those "
        f"around {around}; treated as missing."
    )
    return (sentence,)
