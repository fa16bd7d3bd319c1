"""Figures that tell a good fit from a bad one, none of which depends on the unit of intensity."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import ndimage

from gmmseg.spatial.atlas import TissueAtlas
from gmmseg.spatial.boxes import box_of
from gmmseg.spatial.information import place_information
from gmmseg.spatial.lattice import Lattice
from gmmseg.spatial.sampling import sample_prior
from gmmseg.spatial.unified import UnifiedFit

UNSURE = 1e-3
"""Added to each probability of the atlas before it is bent: nowhere is it sure of what is there."""


def measure(
    lattice: Lattice, atlas: TissueAtlas, fit: UnifiedFit, labels: np.ndarray, affine: np.ndarray
) -> dict[str, float]:
    """Judge a joint fit by its samples and the labels that came of it.

    Parameters
    ----------
    lattice, atlas, fit : Lattice, TissueAtlas and UnifiedFit of the joint fit
    labels : (X, Y, Z) uint8 ndarray
        Of the image that the lattice samples: 0 outside the brain, c + 1 for tissue c.
    affine : (4, 4) ndarray, world mm to template mm

    Returns
    -------
    dict of float
        ``smallest stretch``, ``largest stretch``, ``volume ratio``, ``rotation degrees``: of the
        affine part from the scan to the template; ``displacement mm``: root mean square in the
        brain; ``atlas overlap``: :func:`overlap` of grey and white matter together; ``place
        information nats``: :func:`place_information` in the brain, before the atlas is
        bent; ``grey matter at a border``: :func:`share_at_border` of it, where the atlas has a
        class of that name.
    """
    where = np.nonzero(lattice.used)
    # The first voxel of a lattice point is the one that was sampled.
    voxel = tuple((w + f) * s for w, f, s in zip(where, lattice.first, lattice.step, strict=True))
    here = labels[voxel]
    tissue = np.array(atlas.labels)
    inside = tissue < atlas.n_tissues
    solid = np.array([atlas.names[k] != "CSF" for k in range(len(tissue))]) & inside
    brain = (here > 0) & ~lattice.outside[where]
    grey_white = brain & np.isin(here - 1, np.unique(tissue[solid]))
    points, displaced = lattice.points(atlas), fit.displacement[where]
    bent = _prior_at(points + displaced @ np.linalg.inv(atlas.affine)[:3, :3].T, atlas.maps)
    # Bent, the atlas finds sense in anything: in blobs of three colours, in a head turned over.
    unbent = _prior_at(points[brain], atlas.maps)[:, inside].astype(np.float64) + UNSURE
    density = _density_at(tuple(axis[brain] for axis in where), lattice, fit)[:, inside]
    moved = np.linalg.norm(displaced[brain], axis=1)
    folds = {}
    if "GM" in atlas.names:
        grey = labels == tissue[atlas.names.index("GM")] + 1
        if grey.any():  # else its volume is what there is to doubt
            folds["grey matter at a border"] = share_at_border(grey)
    return {
        **shape_of(affine),
        "displacement mm": float(np.sqrt(np.mean(moved**2))) if brain.any() else float("nan"),
        "atlas overlap": overlap(bent[:, solid].sum(1, dtype=np.float64), grey_white),
        "place information nats": place_information(unbent, density),
        **folds,
    }


def shape_of(affine: np.ndarray) -> dict[str, float]:
    """Stretches (singular values), volume ratio and rotation (degrees) of an affine map (4, 4).

    >>> {k: round(v, 3) for k, v in shape_of(np.diag([1.2, 1.0, 1.1, 1.0])).items()}
    {'smallest stretch': 1.0, 'largest stretch': 1.2, 'volume ratio': 1.32, 'rotation degrees': 0.0}
    """
    u, stretch, v = np.linalg.svd(affine[:3, :3])
    cosine = np.clip((np.trace(u @ v) - 1) / 2, -1, 1)
    return {
        "smallest stretch": float(stretch.min()),
        "largest stretch": float(stretch.max()),
        "volume ratio": float(np.linalg.det(affine[:3, :3])),
        "rotation degrees": float(np.degrees(np.arccos(cosine))),
    }


def overlap(prior: np.ndarray, found: np.ndarray) -> float:
    """Soft Dice of a probability (N,) and a mask (N,): 2 sum min(p, m) / (sum p + sum m).

    >>> overlap(np.array([1.0, 0.5, 0.0]), np.array([True, True, False]))
    0.8571428571428571
    """
    total = float(prior.sum(dtype=np.float64)) + np.count_nonzero(found)
    return float(2 * prior[found].sum(dtype=np.float64) / total) if total > 0 else float("nan")


def share_at_border(region: np.ndarray) -> float:
    """Share of a region's voxels that have a neighbour outside it; the image's edge is no border.

    A sheet of n voxels has 2 / n: where it is near 1, next to every voxel is mixed.

    Parameters
    ----------
    region : (X, Y, Z) bool ndarray

    Returns
    -------
    float, unit 1; NaN where there is no voxel

    >>> sheet = np.zeros((9, 9, 9), bool)
    >>> sheet[2:6] = True
    >>> share_at_border(sheet)
    0.5
    """
    n = np.count_nonzero(region)
    if not n:
        return float("nan")
    near = region[box_of(region, (1, 1, 1))]
    inner = ndimage.binary_erosion(near, border_value=1)
    return float(1 - np.count_nonzero(inner) / n)


def _density_at(where: tuple[np.ndarray, ...], lattice: Lattice, fit: UnifiedFit) -> np.ndarray:
    """(N, K) float64 ndarray, density under each class at points of the lattice."""
    values = lattice.values[where] * np.exp(fit.basis.field(fit.coefficients)[where])
    table = fit.table
    position = np.rint((values - table.low) / table.width).astype(int)
    return np.asarray(table.density[np.clip(position, 0, len(table.density) - 1)])


def _prior_at(points: np.ndarray, maps: np.ndarray) -> np.ndarray:
    """Maps (X, Y, Z, K) at points (N, 3) of their grid: (N, K) float32 ndarray."""
    prior = np.empty((len(points), maps.shape[-1]), np.float32)
    sample_prior(maps, np.ascontiguousarray(points), prior)
    return prior


def share_through_tissue(
    labels: np.ndarray, solid: Sequence[int], values: np.ndarray, low: float, high: float
) -> float:
    """How much of a brain's surface has tissue on either side: grey or white matter cut in two.

    Parameters
    ----------
    labels : (X, Y, Z) uint8 ndarray, 0 outside the brain
    solid : sequence of int, labels of grey and white matter
    values : (X, Y, Z) ndarray, image units; NaN looks like no tissue
    low, high : float, between which the values of tissue lie outside the brain

    Returns
    -------
    float, share of the faces between a voxel of the brain and one that is not; 0 without any

    Examples
    --------
    >>> labels, values = (np.array(a).reshape(4, 1, 1) for a in ([0, 2, 1, 0], [0.0, 5, 5, 5]))
    >>> [share_through_tissue(labels, solid, values, 4, 6) for solid in ([1, 2], [2])]
    [0.5, 0.0]
    """
    box = box_of(labels > 0, (1, 1, 1))
    labels, values = np.ascontiguousarray(labels[box]), values[box]
    brain = labels > 0
    faces, cut = 0, 0
    for axis in range(3):
        ends = (slice(None),) * axis
        before, after = (*ends, slice(None, -1)), (*ends, slice(1, None))
        at = np.nonzero(brain[after] != brain[before])
        inside = np.maximum(labels[before][at], labels[after][at])
        beyond = np.where(brain[before][at], values[after][at], values[before][at])
        faces += inside.size
        through = np.isin(inside, solid) & (beyond > low) & (beyond < high)
        cut += int(np.count_nonzero(through))
    return cut / faces if faces else 0.0
