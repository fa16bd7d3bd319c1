"""Partial volumes of a fitted brain: from the joint fit to tissue fractions of the whole image."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from gmmseg.checks import InputError
from gmmseg.labels import TISSUES
from gmmseg.spatial.atlas import TissueAtlas
from gmmseg.spatial.boxes import Box
from gmmseg.spatial.labelling import class_log_joint
from gmmseg.spatial.lattice import Lattice
from gmmseg.spatial.partial import PartialVolume, estimate_fractions
from gmmseg.spatial.unified import UnifiedFit


def check_tissues(atlas: TissueAtlas) -> None:
    """Raise unless the tissues of ``atlas`` are GM, WM and CSF, in any order."""
    if sorted(atlas.tissues) != sorted(TISSUES):
        raise InputError(
            f"Partial volumes are of {', '.join(TISSUES)}, and the atlas has "
            f"{', '.join(atlas.tissues)}; leave --pve out or give maps of these three."
        )


def brain_fractions(
    corrected: np.ndarray,
    labels: np.ndarray,
    box: Box,
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
    box : three slices of the image that hold the brain
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
    order = [atlas.tissues.index(name) for name in TISSUES]
    # A missing voxel has the density one for every class, which leaves the prior of the labels.
    unseen = np.full(labels[box].shape, np.nan, np.float32)
    log_prior = class_log_joint(unseen, box, lattice, fit, atlas)[..., order]
    own = [fit.model.owner.tolist().index(atlas.names.index(name)) for name in TISSUES]
    inner = estimate_fractions(
        corrected[box],
        labels[box] > 0,
        log_prior,
        spacing,
        fit.model.means[own],
        float(fit.model.variances[own].mean()),
    )
    fractions = np.zeros((*labels.shape, len(TISSUES)), np.float32)
    fractions[box] = inner.fractions[..., [TISSUES.index(name) for name in atlas.tissues]]
    return replace(inner, fractions=fractions)
