"""Samples of an image on a coarse lattice: the brain and its surroundings, for the joint fit."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit
from scipy import ndimage

from gmmseg.affines import voxel_sizes
from gmmseg.checks import InputError
from gmmseg.spatial.atlas import BRAIN, TissueAtlas
from gmmseg.spatial.boxes import box_of
from gmmseg.spatial.sampling import sample_prior
from gmmseg.threads import spread

LATTICE_MM, WIDEST_MM = 3.0, 3.5  # between lattice points: as near to as can be, and at most
MARGIN_MM = 16.0  # of head around the brain that takes part in the fit, in the template
BRIGHTEST = 2.0
"""Times the brightest tissue: more is a stray value or bare fat, which the mixture should not
stretch to."""
MIN_SAMPLES = 100
NO_BRAIN = "No brain could be found in the image; give its mask with --mask."


@dataclass(frozen=True, slots=True, eq=False)
class Lattice:
    """Samples of an image on a regular coarse lattice.

    Attributes
    ----------
    values : (n_0, n_1, n_2) float64 ndarray, intensities
    used : (n_0, n_1, n_2) bool ndarray, which lattice points take part
    outside : (n_0, n_1, n_2) bool ndarray, points known to lie outside the brain
    spacing : (3,) float64, mm
    to_template : (4, 4) float64 ndarray, lattice index to template mm (the affine alignment)
    first, step : (3,) int64 ndarrays
        Voxel index of the image divided by ``step``, less ``first``, is the lattice index.
    """

    values: np.ndarray
    used: np.ndarray
    outside: np.ndarray
    spacing: np.ndarray
    to_template: np.ndarray
    first: np.ndarray
    step: np.ndarray

    @property
    def shape(self) -> tuple[int, ...]:
        """Lattice points along each axis."""
        return self.values.shape

    def points(self, atlas: TissueAtlas) -> np.ndarray:
        """(N, 3) atlas voxel coordinates of the lattice points in use, before any displacement."""
        matrix = np.linalg.inv(atlas.affine) @ self.to_template
        where = np.flatnonzero(self.used)
        out = np.empty((len(where), 3))
        spread(_placed, len(where), where, *self.shape[1:], matrix, out)
        return out


@njit(cache=True, nogil=True)
def _placed(
    first: int,
    stop: int,
    where: np.ndarray,
    n_y: int,
    n_z: int,
    matrix: np.ndarray,
    out: np.ndarray,
) -> None:
    """Where a matrix (4, 4) leads from lattice points, given by their place in memory."""
    for n in range(first, stop):
        row, z = where[n] // n_z, where[n] % n_z
        x, y = row // n_y, row % n_y
        for a in range(3):
            out[n, a] = matrix[a, 0] * x + matrix[a, 1] * y + matrix[a, 2] * z + matrix[a, 3]


def lattice_step(spacing: np.ndarray) -> np.ndarray:
    """Voxels from one lattice point to the next.

    Of 2 mm voxels all are taken: every second one would leave an eighth of them to find the rim by.

    Parameters
    ----------
    spacing : (3,) ndarray, of the image, mm

    Returns
    -------
    (3,) int64 ndarray, at least 1

    >>> lattice_step(np.array([0.7, 1.0, 1.75])), lattice_step(np.array([1.9, 2.0, 5.0]))
    (array([4, 3, 2]), array([1, 1, 1]))
    """
    step = np.rint(LATTICE_MM / spacing).astype(np.int64)
    return np.maximum(1, step - (step * spacing > WIDEST_MM))


def prior_at(lattice: Lattice, atlas: TissueAtlas) -> np.ndarray:
    """(N, K) float32 class prior of the lattice points in use."""
    prior = np.empty((np.count_nonzero(lattice.used), len(atlas.names)), np.float32)
    sample_prior(atlas.maps, lattice.points(atlas), prior)
    return prior


def sample_lattice(
    coarse: np.ndarray,
    mask: np.ndarray | None,
    spacing: np.ndarray,
    to_template: np.ndarray,
    atlas: TissueAtlas,
    step: np.ndarray,
) -> Lattice:
    """Take the brain and :data:`MARGIN_MM` around it from a coarse image, cut to their box.

    Values above :data:`BRIGHTEST` times the brain's 98 per cent quantile are lowered to that.

    Parameters
    ----------
    coarse : (X, Y, Z) float ndarray
        Every ``step``-th voxel of the image; NaN where missing.
    mask : (X, Y, Z) bool ndarray, optional
        The brain in the coarse image; every voxel of it takes part.
    spacing : (3,) ndarray, of the coarse image, mm
    to_template : (4, 4) ndarray, index in the coarse image to template mm
    atlas : TissueAtlas
    step : (3,) int ndarray

    Returns
    -------
    Lattice

    Raises
    ------
    InputError
        If next to nothing of the aligned brain lies within the image, or hardly varies there.
    """
    nothing = np.zeros(coarse.shape, bool)
    everywhere = Lattice(
        coarse, ~nothing, nothing, spacing, to_template, np.zeros(3, int), np.asarray(step)
    )
    inside = prior_at(everywhere, atlas)[:, : atlas.n_inside].sum(1).reshape(coarse.shape) > BRAIN
    brain = (inside if mask is None else mask) & np.isfinite(coarse)
    if not inside.any() or np.count_nonzero(brain) < MIN_SAMPLES:
        raise InputError(NO_BRAIN)
    steps = voxel_sizes(to_template)  # between lattice points, in the template
    used = inside.copy()
    near = box_of(inside, np.ceil(MARGIN_MM / steps).astype(int).tolist())
    used[near] = ndimage.distance_transform_edt(~inside[near], sampling=steps) < MARGIN_MM
    outside = nothing if mask is None else ~mask
    if mask is not None:
        used |= mask
    used &= np.isfinite(coarse)
    low, high = np.quantile(coarse[used & ~outside], [0.02, 0.98])
    if not high > low:
        raise InputError(
            f"The image has the value {high:g} nearly everywhere in the brain; "
            f"check that it is a scan of a head."
        )
    ceiling = BRIGHTEST * float(np.quantile(coarse[brain], 0.98))
    box = box_of(used)
    if min(side.stop - side.start for side in box) < 2:
        raise InputError(NO_BRAIN)
    first = np.array([side.start for side in box])
    moved = to_template.copy()
    moved[:3, 3] += to_template[:3, :3] @ first
    values = np.minimum(np.nan_to_num(coarse[box].astype(np.float64)), ceiling)
    return Lattice(values, used[box], outside[box], spacing, moved, first, np.asarray(step))
