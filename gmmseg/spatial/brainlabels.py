"""Labels of every voxel of a brain: class evidence, Potts field, one solid brain."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gmmseg.checks import InputError
from gmmseg.spatial import ambiguity, coupling, labelling, mrf, onebrain
from gmmseg.spatial.atlas import TissueAtlas
from gmmseg.spatial.boxes import Box, box_of
from gmmseg.spatial.customatlas import FLUID
from gmmseg.spatial.lattice import Lattice
from gmmseg.spatial.temperature import field_temperature, soften
from gmmseg.spatial.unified import UnifiedFit

MIN_VOXELS = 3000  # of brain, to tell tissues apart
N_PLANES = 16  # in which the Potts field is tried


@dataclass(frozen=True, slots=True, eq=False)
class BrainLabels:
    """What became of every voxel, and how sure that is.

    Attributes
    ----------
    labels : (X, Y, Z) uint8 ndarray, 0 outside the brain and c + 1 for tissue c
    posteriors : (X, Y, Z, T) float32 ndarray, rows sum to one in the brain, zero outside
    entropy : (X, Y, Z) float32 ndarray, nats; see :func:`gmmseg.spatial.ambiguity.entropy`
    contacts : (T + 1, T + 1) float64 ndarray, see :func:`gmmseg.spatial.ambiguity.contacts`
    bound : (S,) float64 ndarray, of the Potts field after each sweep, nats per voxel
    strength : float, coupling of the Potts field, nats per neighbour
    gain : float
        By how much neighbours make a value likelier that they have not seen, at that coupling or,
        where it is 0, at the one that was tried; nats per voxel.
    temperature : float, at which posteriors and entropy are taken of the marginals of the field
    noise : float, standard deviation of the white noise, image units; NaN if it is not known
    mislabelled : float, share of voxels that this noise alone takes for another tissue
    """

    labels: np.ndarray
    posteriors: np.ndarray
    entropy: np.ndarray
    contacts: np.ndarray
    bound: np.ndarray
    strength: float
    gain: float
    temperature: float
    noise: float
    mislabelled: float

    def summary(self, gain: float = 1.0) -> dict[str, object]:
        """What was decided about the Potts field, for the record; intensities times gain."""
        return {
            "coupling nats": round(self.strength, 3),
            "coupling gains nats": round(self.gain, 4),
            "temperature": round(self.temperature, 3),
            "white noise": float(f"{gain * self.noise:.4g}"),
        }


def label_brain(
    corrected: np.ndarray,
    mask: np.ndarray | None,
    spacing: np.ndarray,
    lattice: Lattice,
    fit: UnifiedFit,
    atlas: TissueAtlas,
    strength: float | None,
) -> BrainLabels:
    """Label every voxel of the brain, from where the joint fit left off.

    Parameters
    ----------
    corrected : (X, Y, Z) float32 ndarray, bias-corrected intensities, NaN where missing
    mask : (X, Y, Z) bool ndarray, optional
        The brain, where it is known: all of it is labelled, and nothing else.
    spacing : (3,) voxel size, mm
    lattice, fit, atlas : Lattice, UnifiedFit and TissueAtlas of the joint fit
    strength : float, optional
        Coupling of the Potts field, nats per neighbour. If it is not given, the noise sets it, and
        it is 0 where the held-out likelihood does not gain by it.

    Returns
    -------
    BrainLabels

    Raises
    ------
    InputError
        If there is next to no brain.
    """
    shape = corrected.shape
    if mask is None:
        box, room = labelling.brain_room(fit, lattice, atlas, shape)
    else:
        box = box_of(mask, (1, 1, 1))
        # Side by side in memory, as it is without a mask too: kernels are compiled for each layout.
        room = np.ascontiguousarray(mask[box])
    known = mask is not None
    values = np.ascontiguousarray(corrected[box])
    log_joint = labelling.class_log_joint(values, box, lattice, fit, atlas, room, known=known)
    solid = [k for k, name in enumerate(atlas.tissues) if name != "CSF"]
    noise = coupling.middle_noise(values, log_joint, solid, spacing)
    tissues = [atlas.names.index(name) for name in atlas.tissues]
    means = fit.model.class_means(len(atlas.names))[tissues]
    spreads = fit.model.class_spreads(len(atlas.names))[tissues]
    share = coupling.mislabelled(noise, means, spreads)
    usual = coupling.automatic_strength(share)
    gain = _gain(log_joint, room, known, box, spacing, lattice, fit, atlas, strength or usual)
    if strength is None:
        strength = usual if gain > 0 else 0.0
    q, bound = mrf.mean_field(log_joint, room, spacing, strength)
    del log_joint  # as large as all that is still to be made
    brain = room
    if not known:
        likely = q[..., -1] < 0.5
        tissue = likely & labelling.is_likeliest(solid, q, q.shape[-1] - 1)
        brain = onebrain.clean_brain(likely, tissue, spacing)
    if FLUID in atlas.names:  # no class of the atlas is to have the ventricles
        brain &= q[..., -1] < 0.5
    n_brain = np.count_nonzero(brain)
    if n_brain < MIN_VOXELS:
        raise InputError(
            f"Only {n_brain} brain voxels were found in the image, and {MIN_VOXELS} are needed; "
            f"check that it is a T1-weighted scan of a head."
        )
    contacts = ambiguity.contacts(q, room)  # intervals were calibrated with the field's own
    temperature = field_temperature(strength)
    soften(q, brain, temperature)
    labels, posteriors = labelling.settle(q, brain, box, shape)
    return BrainLabels(
        labels, posteriors, ambiguity.entropy(q, brain, box, shape), contacts,
        bound, strength, gain, temperature, noise, share,
    )  # fmt: skip


def _gain(
    log_joint: np.ndarray,
    room: np.ndarray,
    known: bool,
    box: Box,
    spacing: np.ndarray,
    lattice: Lattice,
    fit: UnifiedFit,
    atlas: TissueAtlas,
    strength: float,
) -> float:
    """Held-out gain of the Potts field in the axial planes in the middle of the box."""
    first = (log_joint.shape[2] - min(log_joint.shape[2], N_PLANES)) // 2
    planes = np.s_[:, :, first : first + N_PLANES]
    joint = np.ascontiguousarray(log_joint[planes])  # one kernel, compiled once, for both
    active = np.ascontiguousarray(room[planes])
    start = box[2].start + first
    middle = (box[0], box[1], slice(start, start + joint.shape[2]))
    unseen = np.full(joint.shape[:3], np.nan, np.float32)
    prior = labelling.class_log_joint(unseen, middle, lattice, fit, atlas, active, known=known)
    return mrf.held_out_gain(joint, prior, active, spacing, strength)
