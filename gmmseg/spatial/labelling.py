"""From a joint fit on the coarse lattice to class evidence at every voxel, and to labels."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numba import njit
from scipy import ndimage

from gmmseg.checks import InputError
from gmmseg.spatial.atlas import TissueAtlas
from gmmseg.spatial.boxes import Box, box_of
from gmmseg.spatial.carry import TemplateMap
from gmmseg.spatial.customatlas import FLUID
from gmmseg.spatial.lattice import NO_BRAIN, Lattice
from gmmseg.spatial.sampling import displaced_row, moved_point, read_maps, sample_prior
from gmmseg.spatial.unified import UnifiedFit
from gmmseg.threads import spread

NEVER = 50.0  # nats
MIN_PRIOR = 0.01  # of all tissues together, for a place to be looked at
ROOM = 2  # lattice points around such places
BALANCE = 0.3
"""Nats for the brain against what lies around it, where values that speak for it count by half."""
OUTSIDE_FACTOR = float(np.exp(-BALANCE))  # a kernel would take the exponential at each voxel


def brain_room(
    fit: UnifiedFit, lattice: Lattice, atlas: TissueAtlas, shape: tuple[int, ...]
) -> tuple[Box, np.ndarray]:
    """Where in an image the deformed prior leaves room for tissue.

    Parameters
    ----------
    fit, lattice, atlas : UnifiedFit, Lattice and TissueAtlas of the joint fit
    shape : (3,) int, voxels of the image along each axis

    Returns
    -------
    box : three slices of the image
    room : (x, y, z) bool ndarray, voxels of the box that are up to two lattice points from where
        any tissue may be
    """
    index = np.stack(np.meshgrid(*map(np.arange, lattice.shape), indexing="ij"), axis=-1)
    points = index.reshape(-1, 3) @ lattice.to_template[:3, :3].T + lattice.to_template[:3, 3]
    points += fit.displacement.reshape(-1, 3)
    to_voxel = np.linalg.inv(atlas.affine)
    points = np.ascontiguousarray(points @ to_voxel[:3, :3].T + to_voxel[:3, 3])
    prior = np.empty((len(points), len(atlas.names)), np.float32)
    sample_prior(atlas.maps, points, prior)
    inside = prior[:, : atlas.n_inside].sum(1).reshape(lattice.shape) > MIN_PRIOR
    if not inside.any():
        raise InputError(NO_BRAIN)
    sides, nearest = [], []
    for side, first, step, n, points in zip(
        box_of(inside), lattice.first, lattice.step, shape, lattice.shape, strict=True
    ):
        low = max(int((side.start + first - ROOM) * step), 0)
        high = min(int((side.stop - 1 + first + ROOM) * step) + 1, n)
        sides.append(slice(low, high))
        at = np.rint(np.arange(low, high) / step).astype(np.int64) - first
        nearest.append(np.clip(at, 0, points - 1))
    room = ndimage.binary_dilation(inside, ndimage.generate_binary_structure(3, 3), ROOM)
    for axis in (2, 1, 0):  # a twentieth of the time of one look-up by all three
        room = room.take(nearest[axis], axis)
    return (sides[0], sides[1], sides[2]), room


def log_correction(fit: UnifiedFit, lattice: Lattice, shape: tuple[int, ...]) -> np.ndarray:
    """Log of the bias correction at every voxel, held constant beyond the lattice.

    Parameters
    ----------
    fit, lattice : UnifiedFit and Lattice of the joint fit
    shape : (3,) int, voxels of the image along each axis

    Returns
    -------
    (X, Y, Z) float32 ndarray; the corrected image is the image times its exponential
    """
    positions = [
        np.clip(np.arange(n) / s - f, 0, m - 1)
        for n, s, f, m in zip(shape, lattice.step, lattice.first, lattice.shape, strict=True)
    ]
    return fit.basis.resampled(positions).field(fit.coefficients.astype(np.float32))


@njit(cache=True, inline="always")
def tempered_prior(
    maps: np.ndarray, x: float, y: float, z: float, n_inside: int, prior: np.ndarray
) -> None:
    """Prior of each class at a point of the atlas, as voxels are labelled by it.

    Tissues are told apart by the root of the prior: what its neighbours say, it says in part as
    well, and an average of many heads is too sure of folds that this one has elsewhere. How much
    of a voxel is brain at all it says in full. ``maps`` (X, Y, Z, K), the point in its voxels;
    ``prior`` (K,) float32 is written.
    """
    read_maps(maps, x, y, z, prior)
    inside, tempered = np.float32(0.0), np.float32(0.0)
    for m in range(n_inside):
        inside += prior[m]
    for m in range(n_inside):  # by itself: several roots at a time
        prior[m] = np.sqrt(prior[m])
    for m in range(n_inside):
        tempered += prior[m]
    if tempered > 0:
        ratio = inside / tempered
        for m in range(n_inside):
            prior[m] *= ratio


@njit(cache=True, inline="always")
def outside_weight(here: float, around: float, inside: float, outside: float) -> float:
    """By what the evidence of the head around the brain is multiplied at a voxel, unit 1.

    What lies around a brain is of many kinds, and values as those of brain are among them: dura,
    marrow, voxels that bone and skin share. So a value that is likelier in the brain counts by the
    root of how much likelier it is; one that is likelier outside counts in full. ``here`` and
    ``around`` are the prior of the brain, its fluid included, and of the head around it, ``inside``
    and ``outside`` those times the likelihood, per image unit. Measured in ``docs/design.md``.
    """
    weight = OUTSIDE_FACTOR
    if inside * around > outside * here:
        weight *= np.sqrt(inside * around / (outside * here))
    return weight


@njit(cache=True, nogil=True)
def _log_joint(
    begin: int,
    stop: int,
    values: np.ndarray,
    room: np.ndarray,
    given: bool,
    first: np.ndarray,
    to_atlas: np.ndarray,
    displacement: np.ndarray,
    maps: np.ndarray,
    low: float,
    width: float,
    density: np.ndarray,
    labels: np.ndarray,
    n_inside: int,
    n_brain: int,
    out: np.ndarray,
) -> None:
    _, ny, nz = values.shape
    n_classes, n_labels, n_bins = maps.shape[3], out.shape[3], density.shape[0]
    prior = np.empty(n_classes, np.float32)
    joint = np.empty(n_classes, np.float32)
    sums, row = np.empty(n_labels, np.float32), np.empty((displacement.shape[2], 3))
    one = np.float32(1.0)
    for i in range(begin, stop):
        x = first[0] + i * first[3]
        for j in range(ny):
            y = first[1] + j * first[4]
            displaced_row(displacement, x, y, row)
            for k in range(nz):
                if not room[i, j, k]:
                    for m in range(n_labels):
                        out[i, j, k, m] = -NEVER if m < n_labels - 1 else 0.0
                    continue
                px, py, pz = moved_point(to_atlas, row, x, y, first[2] + k * first[5])
                tempered_prior(maps, px, py, pz, n_inside, prior)
                if np.isnan(values[i, j, k]):  # says nothing: its density is one for every class
                    for m in range(n_classes):
                        joint[m] = prior[m]
                else:
                    t = min(max((values[i, j, k] - low) / width, 0.0), n_bins - 1.001)
                    b0 = int(t)
                    f = np.float32(t - b0)
                    for m in range(n_classes):
                        likelihood = (one - f) * density[b0, m] + f * density[b0 + 1, m]
                        joint[m] = prior[m] * likelihood
                for m in range(n_labels):
                    sums[m] = 1e-30
                for m in range(n_brain):
                    sums[labels[m]] += joint[m]
                if not given:
                    # In float64: of small ones, products are taken.
                    here, around, inside, outside = 0.0, 0.0, 0.0, 1e-30
                    for m in range(n_brain):
                        here += prior[m]
                        inside += joint[m]
                    for m in range(n_brain, n_classes):
                        around += prior[m]
                        outside += joint[m]
                    weight = outside_weight(here, around, inside, outside)
                    sums[n_labels - 1] += np.float32(outside * weight)
                for m in range(n_labels):
                    out[i, j, k, m] = np.log(sums[m])
                if given:
                    out[i, j, k, n_labels - 1] = -NEVER


def class_log_joint(
    values: np.ndarray,
    box: Box,
    lattice: Lattice,
    fit: UnifiedFit,
    atlas: TissueAtlas,
    room: np.ndarray | None = None,
    *,
    known: bool = False,
) -> np.ndarray:
    """Log of prior times likelihood of each tissue, and of everything else, at every voxel.

    Classes of the brain share what the prior has of all of them by the root of the prior of each.
    What speaks for the brain counts by half, see :func:`outside_weight`.

    Parameters
    ----------
    values : (X, Y, Z) float32 ndarray
        Bias-corrected intensities of the voxels in ``box``; NaN where missing.
    box : three slices of the image
    lattice, fit, atlas : Lattice, UnifiedFit and TissueAtlas of the joint fit
    room : (X, Y, Z) bool ndarray, optional
        Where in ``box`` there may be brain; all else is sure to be none.
    known : bool, whether all of ``room`` is brain

    Returns
    -------
    (X, Y, Z, T + 1) float32 ndarray, nats; the last class is all that lies outside the brain
    """
    out = np.empty((*values.shape, atlas.n_tissues + 1), np.float32)
    n_brain = atlas.n_inside + (FLUID in atlas.names)  # no tissue, but no part of the head either
    looked_at = np.ones(values.shape, bool) if room is None else np.ascontiguousarray(room)
    spread(
        _log_joint, len(values), values, looked_at, known,
        *TemplateMap.of(fit, lattice).way_to(atlas.affine, box), atlas.maps,
        fit.table.low, fit.table.width, fit.table.density.astype(np.float32),
        np.array(atlas.labels), atlas.n_inside, n_brain, out,
    )  # fmt: skip
    return out


@njit(cache=True, nogil=True)
def _is_likeliest(
    first: int, stop: int, wanted: np.ndarray, values: np.ndarray, n: int, out: np.ndarray
) -> None:
    for i in range(first, stop):
        for j in range(values.shape[1]):
            for k in range(values.shape[2]):
                best = 0
                for c in range(1, n):
                    if values[i, j, k, c] > values[i, j, k, best]:
                        best = c
                out[i, j, k] = wanted[best]


def is_likeliest(classes: Sequence[int], values: np.ndarray, n: int | None = None) -> np.ndarray:
    """Where the largest value is that of one of some classes.

    Parameters
    ----------
    classes : sequence of int
    values : (X, Y, Z, K) float32 ndarray, marginals or log evidence
    n : int, optional
        Look at the first so many classes alone.

    Returns
    -------
    (X, Y, Z) bool ndarray

    >>> values = np.array([[0.2, 0.7, 0.1], [0.3, 0.2, 0.5]], np.float32).reshape(2, 1, 1, 3)
    >>> is_likeliest([0, 2], values).ravel(), is_likeliest([0], values, 2).ravel()
    (array([False,  True]), array([False,  True]))
    """
    out = np.empty(values.shape[:3], bool)
    wanted = np.isin(np.arange(values.shape[3]), classes)
    spread(_is_likeliest, len(values), wanted, values, n or values.shape[3], out)
    return out


@njit(cache=True, nogil=True)
def _settle(
    first: int,
    stop: int,
    q: np.ndarray,
    brain: np.ndarray,
    labels: np.ndarray,
    posteriors: np.ndarray,
) -> None:
    n_tissues = posteriors.shape[3]
    for i in range(first, stop):
        for j in range(q.shape[1]):
            for k in range(q.shape[2]):
                if not brain[i, j, k]:
                    continue
                total, best = np.float32(0.0), 0
                for c in range(n_tissues):
                    total += q[i, j, k, c]
                    if q[i, j, k, c] > q[i, j, k, best]:
                        best = c
                labels[i, j, k] = best + 1
                for c in range(n_tissues):
                    p = q[i, j, k, c] / total if total > 0 else np.float32(c == best)
                    posteriors[i, j, k, c] = p


def settle(
    q: np.ndarray, brain: np.ndarray, box: Box, shape: tuple[int, ...]
) -> tuple[np.ndarray, np.ndarray]:
    """Labels and posteriors of the whole image from the marginals of a box.

    Parameters
    ----------
    q : (x, y, z, T + 1) float32 ndarray, marginals of tissues and the rest in ``box``
    brain : (x, y, z) bool ndarray, the voxels to label
    box : three slices of the image
    shape : of the image

    Returns
    -------
    labels : (X, Y, Z) uint8 ndarray, 0 outside the brain and c + 1 for tissue c
    posteriors : (X, Y, Z, T) float32 ndarray, rows sum to one in the brain, zero outside
    """
    labels = np.zeros(shape, np.uint8)
    posteriors = np.zeros((*shape, q.shape[-1] - 1), np.float32)
    spread(_settle, len(q), q, brain, labels[box], posteriors[box])
    return labels, posteriors
