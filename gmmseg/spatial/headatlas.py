"""The atlas of a head made from maps of the brain alone."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numba import njit
from scipy import ndimage
from scipy.special import expit

from gmmseg.affines import voxel_sizes
from gmmseg.labels import TISSUES
from gmmseg.spatial.atlas import CLASSES, LABELS, TissueAtlas
from gmmseg.spatial.blur import TRUNCATE
from gmmseg.spatial.regions import coordinates, nuclei
from gmmseg.threads import spread

SPACING_MM, PAD_MM = 2.0, 40.0  # voxels of the atlas, and how far it reaches beyond the maps
RIM_MM, RIM_WIDTH_MM = 3.5, 1.5  # how far CSF reaches beyond the packaged mask, how softly it ends
CISTERN_MM = 2.5
"""How much farther fluid reaches below and in front of the brainstem, where the mask leaves out
most of the cisterns."""
CISTERN_X, CISTERN_Y, CISTERN_Z = 22.0, (-45.0, 25.0), 0.0  # half width, back and front, top; mm
CISTERN_EDGE_MM = 4.0  # how softly they end; logistic
SINK = 0.007
"""By how much of the way from back to front the rim widens: brains of people who lie on their back
lie low in their skulls (Rice et al. 2013, doi 10.1016/j.neuroimage.2012.09.041)."""
MIDDLE_Y = -18.0  # where it is neither wider nor narrower for that
BONE_PEAK, BONE_MM, BONE_WIDTH_MM = 0.7, 3.5, 3.0
"""Largest probability of bone, at which distance beyond the rim, and the standard deviation of
that. The rest of it is left to marrow and vessels: soft tissue."""
AIR_MM, AIR_WIDTH_MM = 13.0, 4.0  # beyond the rim, where air is as likely as not; logistic
FACE_MM = 6.0  # beyond the rim and below the brain: face and neck, of which no map tells
FACE = (0.2, 0.6, 0.2)  # bone, soft tissue and air there
ANYWHERE = 0.02  # of each of the three, wherever the brain is not


def head_atlas(
    grey: np.ndarray,
    white: np.ndarray,
    brain: np.ndarray,
    affine: np.ndarray,
    *,
    rim_mm: float = RIM_MM,
) -> TissueAtlas:
    """Build the head atlas of :data:`CLASSES` from brain maps alone.

    Outside the brain nothing is packaged, so its classes come from the distance d to the brain
    mask: bone around d = 3.5 mm, soft tissue beyond it giving way to air around d = 13 mm, and
    below the brain a broad mix for the face and neck.

    Parameters
    ----------
    grey, white : (X, Y, Z) float ndarray, tissue probability in 0..1
    brain : (X, Y, Z) bool or float ndarray, filled brain mask, or its probability
    affine : (4, 4) ndarray, voxel index to template mm; axes along the template's axes
    rim_mm : float
        How far the space of the CSF reaches beyond the mask, in the mean; it is wider at the
        cisterns around the brainstem and in front, and narrower at the back.

    Returns
    -------
    TissueAtlas with the classes ``CLASSES``: deep grey matter is paler than cortex in T1 and has an
    intensity of its own

    References
    ----------
    Ashburner & Friston (2005), doi 10.1016/j.neuroimage.2005.02.018, for priors of the head around
    the brain in one model with it.
    """
    with ThreadPoolExecutor(1) as pool:  # SciPy lets go of the interpreter lock
        tissue = pool.submit(resampled, (grey, white), affine)
        (brain,), affine = resampled((brain,), affine)
        inside = np.clip(brain, 0, 1)
        size = voxel_sizes(affine)
        distance = ndimage.distance_transform_edt(inside < 0.5, sampling=size).astype(np.float32)
        (grey, white), _ = tissue.result()
    height = coordinates(inside.shape, affine)[2].ravel().astype(np.float32)
    below = expit(-(height + np.float32(25.0)) / np.float32(8.0))
    deep = nuclei(inside.shape, affine)
    # The packaged mask ends near the pial surface: the space above it holds CSF too.
    rim = rim_mm / RIM_MM * _rim(inside.shape, affine)
    inside = np.maximum(inside, expit((rim - distance) / RIM_WIDTH_MM))
    distance = np.maximum(distance - rim, 0)
    maps = np.empty((*inside.shape, len(CLASSES)), np.float32)
    spread(_compose, len(maps), grey, white, inside, deep, distance, below, maps)
    return TissueAtlas(maps, affine, CLASSES, LABELS, len(TISSUES))


@njit(cache=True, nogil=True)
def _compose(
    first: int,
    stop: int,
    grey: np.ndarray,
    white: np.ndarray,
    inside: np.ndarray,
    deep: np.ndarray,
    distance: np.ndarray,
    below: np.ndarray,
    maps: np.ndarray,
) -> None:
    """Write the probability of each of :data:`CLASSES` at each voxel."""
    _, ny, nz, n_classes = maps.shape
    for i in range(first, stop):
        for j in range(ny):
            for k in range(nz):
                g, w, d = grey[i, j, k], white[i, j, k], distance[i, j, k]
                bone = BONE_PEAK * np.exp(-0.5 * ((d - BONE_MM) / BONE_WIDTH_MM) ** 2)
                air = 1.0 / (1.0 + np.exp((AIR_MM - d) / AIR_WIDTH_MM))
                soft = (1.0 - air) * (1.0 - bone)
                if d > FACE_MM:
                    low = below[k]
                    bone = (1.0 - low) * bone + low * FACE[0]
                    soft = (1.0 - low) * soft + low * FACE[1]
                    air = (1.0 - low) * air + low * FACE[2]
                scale = (1.0 - inside[i, j, k]) / (bone + soft + air + 3 * ANYWHERE)
                here = maps[i, j, k]
                here[0] = (1.0 - deep[i, j, k]) * g
                here[1] = w
                here[2] = min(max(inside[i, j, k] - g - w, 0.0), 1.0)
                here[3] = deep[i, j, k] * g
                here[4] = scale * (bone + ANYWHERE)
                here[5] = scale * (soft + ANYWHERE)
                here[6] = scale * (air + ANYWHERE)
                total = 0.0
                for c in range(n_classes):
                    here[c] = max(here[c], 0.0) + 1e-4
                    total += here[c]
                for c in range(n_classes):
                    here[c] /= total


def _rim(shape: tuple[int, ...], affine: np.ndarray) -> np.ndarray:
    """How far the space of the CSF reaches beyond the packaged mask from place to place, mm."""
    x, y, z = (place.astype(np.float32) for place in coordinates(shape, affine))
    edge = np.float32(CISTERN_EDGE_MM)
    cisterns = expit((CISTERN_X - np.abs(x)) / edge) * expit((CISTERN_Z - z) / edge)
    cisterns = cisterns * expit((y - CISTERN_Y[0]) / edge) * expit((CISTERN_Y[1] - y) / edge)
    return np.asarray(RIM_MM + CISTERN_MM * cisterns + SINK * (y - MIDDLE_Y), np.float32)


def resampled(
    fields: Sequence[np.ndarray], affine: np.ndarray
) -> tuple[list[np.ndarray], np.ndarray]:
    """Maps of the brain smoothed to ``SPACING_MM`` and padded with nothing by ``PAD_MM``.

    Parameters
    ----------
    fields : sequence of (X, Y, Z) ndarrays
    affine : (4, 4) ndarray, voxel index to template mm

    Returns
    -------
    maps : list of float32 ndarrays
    affine : (4, 4) ndarray, of their grid
    """
    size = voxel_sizes(affine)
    pad = np.ceil(PAD_MM / size).astype(int)
    step = np.maximum(1, np.rint(SPACING_MM / size)).astype(int)
    maps = [thinned(field, pad, step) for field in fields]
    out = np.array(affine, dtype=np.float64)
    out[:3, 3] -= affine[:3, :3] @ pad
    out[:3, :3] *= step
    return maps, out


def thinned(field: np.ndarray, pad: np.ndarray, step: np.ndarray) -> np.ndarray:
    """Pad a map with nothing, blur it by half a step and keep every ``step``-th voxel.

    Padding and voxels that are dropped anyway are not blurred; the result is the same bits.

    Parameters
    ----------
    field : (X, Y, Z) ndarray
    pad : (3,) int, voxels added on each side
    step : (3,) int

    Returns
    -------
    float32 ndarray, ``ceil((n + 2 pad) / step)`` voxels along each axis
    """
    out = np.asarray(field, np.float32)
    for axis, (p, s) in enumerate(zip(pad, step, strict=True)):
        reach = int(TRUNCATE * 0.5 * s + 0.5)
        left = max(0, (p - reach) // s)  # kept voxels that see nothing of the map
        total = -(-(out.shape[axis] + 2 * p) // s)
        near = min(p, reach + s)
        out = np.pad(out, [(p - left * s, near) if a == axis else (0, 0) for a in range(3)])
        out = ndimage.gaussian_filter1d(out, 0.5 * s, axis=axis)
        out = out[tuple(slice(None, None, s if a == axis else 1) for a in range(3))]
        out = out[tuple(slice(total - left if a == axis else None) for a in range(3))]
        right = total - left - out.shape[axis]
        out = np.pad(out, [(left, right) if a == axis else (0, 0) for a in range(3)])
    return out
