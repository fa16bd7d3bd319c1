"""Partial volumes of a fitted brain: from the joint fit to tissue fractions of the whole image."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numba import njit

from gmmseg.checks import InputError
from gmmseg.labels import TISSUES
from gmmseg.spatial.atlas import TissueAtlas
from gmmseg.spatial.boxes import Box, box_of
from gmmseg.spatial.carry import TemplateMap
from gmmseg.spatial.labelling import NEVER, tempered_prior
from gmmseg.spatial.lattice import Lattice
from gmmseg.spatial.partial import PartialVolume, estimate_fractions
from gmmseg.spatial.sampling import displaced_row, moved_point
from gmmseg.spatial.unified import UnifiedFit
from gmmseg.threads import spread

PART_GAIN = 0.01
"""Nats per voxel: parts have means of their own where the objective gains more by it. Real scans
gain .020 to .051; phantoms that paint each tissue in one colour .0045 at most."""
SLAB, EVERY = 4, 12  # planes that are looked at to decide it, of so many
FEW_SWEEPS = 3


def check_tissues(atlas: TissueAtlas) -> None:
    """Raise unless the tissues of ``atlas`` are GM, WM and CSF, in any order."""
    if sorted(atlas.tissues) != sorted(TISSUES):
        raise InputError(
            f"Partial volumes are of {', '.join(TISSUES)}, and the atlas has "
            f"{', '.join(atlas.tissues)}; leave --pve out or give maps of these three."
        )


@njit(cache=True, nogil=True)
def _expected(
    begin: int,
    stop: int,
    brain: np.ndarray,
    first: np.ndarray,
    to_atlas: np.ndarray,
    displacement: np.ndarray,
    maps: np.ndarray,
    means: np.ndarray,
    labels: np.ndarray,
    n_inside: int,
    log_prior: np.ndarray,
    away: np.ndarray,
) -> None:
    """Prior of each tissue, and how far the mean that its classes have there is from its own."""
    prior, share, offset = np.empty(maps.shape[3], np.float32), np.empty(3), np.empty(3)
    row = np.empty((displacement.shape[2], 3))
    for i in range(begin, stop):
        x = first[0] + i * first[3]
        for j in range(brain.shape[1]):
            y = first[1] + j * first[4]
            displaced_row(displacement, x, y, row)
            for k in range(brain.shape[2]):
                if not brain[i, j, k]:
                    continue
                px, py, pz = moved_point(to_atlas, row, x, y, first[2] + k * first[5])
                tempered_prior(maps, px, py, pz, n_inside, prior)
                share[:] = 0.0
                offset[:] = 0.0
                for m in range(n_inside):
                    share[labels[m]] += prior[m]
                    offset[labels[m]] += prior[m] * means[m]
                for t in range(3):
                    log_prior[i, j, k, t] = np.log(share[t]) if share[t] > 0 else -NEVER
                    away[i, j, k, t] = offset[t] / share[t] if share[t] > 0 else 0.0


def _tissue_prior(
    brain: np.ndarray, box: Box, lattice: Lattice, fit: UnifiedFit, atlas: TissueAtlas
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What the deformed atlas says of GM, WM and CSF in the brain voxels of ``box``.

    Returns
    -------
    means : (3,) float64 ndarray, image units
    log_prior : (X, Y, Z, 3) float32 ndarray, nats
    away : (X, Y, Z, 3) float32 ndarray
        Expected mean of a tissue's classes, that is of its parts, less ``means``.
    """
    model, n = fit.model, atlas.n_inside
    by_class = model.class_means(len(atlas.names))
    own = [atlas.names.index(name) for name in TISSUES]
    labels = np.array([TISSUES.index(atlas.tissues[t]) for t in atlas.labels[:n]])
    log_prior, away = np.zeros((2, *brain.shape, 3), np.float32)
    spread(
        _expected, len(brain), brain, *TemplateMap.of(fit, lattice).way_to(atlas.affine, box),
        atlas.maps, by_class[:n] - by_class[own][labels], labels, n, log_prior, away,
    )  # fmt: skip
    return by_class[own], log_prior, away


def brain_fractions(
    corrected: np.ndarray,
    labels: np.ndarray,
    spacing: np.ndarray,
    lattice: Lattice,
    fit: UnifiedFit,
    atlas: TissueAtlas,
) -> PartialVolume:
    """Tissue fractions of every labelled voxel, from where the joint fit left off.

    Parameters
    ----------
    corrected : (X, Y, Z) float32 ndarray, bias-corrected intensities, NaN where missing
    labels : (X, Y, Z) uint8 ndarray, 0 outside the brain
    spacing : (3,) voxel size, mm
    lattice, fit, atlas : Lattice, UnifiedFit and TissueAtlas of the joint fit

    Returns
    -------
    PartialVolume on the grid of the image, tissues in the order of the atlas

    Raises
    ------
    InputError
        If the tissues of the atlas are not GM, WM and CSF.
    """
    check_tissues(atlas)
    box = box_of(labels > 0)
    brain = np.ascontiguousarray(labels[box] > 0)
    means, log_prior, away = _tissue_prior(brain, box, lattice, fit, atlas)
    scene = corrected[box], brain, log_prior, spacing, means
    within = fit.model.class_variances(len(atlas.names))
    variance = float(within[[atlas.names.index(name) for name in TISSUES]].mean())
    inner = estimate_fractions(
        *scene, variance, away=away if _by_part(*scene, variance, away) else None
    )
    del scene, log_prior, away  # as large as what is still to be made
    fractions = np.zeros((*labels.shape, len(TISSUES)), np.float32)
    for t, name in enumerate(atlas.tissues):
        fractions[(*box, t)] = inner.fractions[..., TISSUES.index(name)]
    return replace(inner, fractions=fractions)


def _by_part(
    values: np.ndarray,
    brain: np.ndarray,
    log_prior: np.ndarray,
    spacing: np.ndarray,
    means: np.ndarray,
    variance: float,
    away: np.ndarray,
) -> bool:
    """Whether the scan asks for means that differ from part to part, by slabs of the brain."""
    if not away.any():
        return False
    from_middle = np.arange(len(brain)) - len(brain) // 2  # where nuclei and brainstem are
    place = (from_middle + SLAB // 2) % EVERY
    near = place <= SLAB  # and an empty plane between slabs, which keeps them apart
    slabs = brain[near] & (place[near] < SLAB)[:, None, None]
    if not slabs.any():
        return False
    _, rows, columns = box_of(slabs)
    few = (near, rows, columns)
    slabs, values, log_prior, away = slabs[:, rows, columns], values[few], log_prior[few], away[few]
    last = [
        estimate_fractions(
            values, slabs, log_prior, spacing, means, variance, away=there, n_sweeps=FEW_SWEEPS
        ).objective[-1]
        for there in (away, None)
    ]
    return bool(last[0] - last[1] > PART_GAIN)
