"""One solid brain: cut off what hangs on by a thread, and fluid that reaches out in sheets."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from gmmseg.spatial.components import largest_component, solid_component
from gmmseg.spatial.stamp import stamped
from gmmseg.threads import spread_calls

THREAD_MM = 1.5  # tissue that hangs on by less than twice this is cut off
SHEET_MM = 3.0
"""Fluid in which a ball of this radius has no room is a sheet. One that lies within as much of
solid tissue is the subarachnoid space; beyond it, it runs along orbits, veins and sinuses."""
SLACK_MM = 2.0  # what erosion takes away from edges and corners is given back so far


def within(mask: np.ndarray, mm: float, spacing: Sequence[float] | np.ndarray) -> np.ndarray:
    """Voxels that lie in a mask or no farther than ``mm`` from one of its voxels.

    Along an axis whose voxels are longer than that, it reaches one voxel far.

    Parameters
    ----------
    mask : (X, Y, Z) bool ndarray
    mm : float, distance between the middles of voxels
    spacing : (3,) mm

    Returns
    -------
    (X, Y, Z) bool ndarray

    Examples
    --------
    >>> mask = np.zeros((7, 7, 7), bool)
    >>> mask[3, 3, 3] = True
    >>> [int(within(mask, mm, (1, 1, 1)).sum()) for mm in (1, 1.5, 2)]
    [7, 19, 33]
    """
    step = np.asarray(spacing, np.float64)
    half = np.maximum(mm, step)
    reach = (half / step + 1e-6).astype(int)
    grid = np.stack(np.meshgrid(*(np.arange(-r, r + 1) for r in reach), indexing="ij"), axis=-1)
    grid = grid.reshape(-1, 3)
    offsets = grid[((grid * step / half) ** 2).sum(axis=1) <= 1 + 1e-6]
    return stamped(mask, offsets)


def clean_brain(brain: np.ndarray, solid: np.ndarray, spacing: np.ndarray) -> np.ndarray:
    """One solid brain from all that looks like one.

    Islands and what hangs on by a thread (eyes, dura, marrow) go, and so does fluid far from tissue
    that is no more than a sheet (along the roofs of orbits, veins and sinuses); enclosed holes are
    filled.

    Parameters
    ----------
    brain : (X, Y, Z) bool ndarray, voxels that are likelier brain than not
    solid : (X, Y, Z) bool ndarray, those of them that are no fluid
    spacing : (3,) mm

    Returns
    -------
    (X, Y, Z) bool ndarray
    """
    # SciPy, which labels the parts, has one thread.
    core, thick = spread_calls(
        lambda of: _core(of[0], of[1], spacing), [(solid, THREAD_MM), (brain, SHEET_MM)]
    )
    if not core.any():
        return solid_component(brain)
    near = within(thick, SHEET_MM + SLACK_MM, spacing)
    tissue = solid & within(core, THREAD_MM + SLACK_MM, spacing)
    near |= within(tissue, SHEET_MM, spacing)
    near &= brain
    return solid_component(near)


def _core(mask: np.ndarray, mm: float, spacing: np.ndarray) -> np.ndarray:
    """The largest part of what lies deeper than ``mm`` in a mask; borders of the image are none."""
    return largest_component(~within(~mask, mm, spacing))
