"""A simulated whole-head scan with exact truth, made from tissue maps.

The brain comes from probability maps of its tissues (a population average), bent by
a smooth random deformation, folded and sharpened until it looks like one person's.
Everything around it - skull, marrow, scalp, neck, face - is drawn from the distance
to the brain and a few simple shapes. All of it is painted on a grid finer than the
voxels and averaged, so the partial-volume fractions are known exactly.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from gmmseg.affines import voxel_sizes
from gmmseg.checks import InputError
from gmmseg.simulate.anatomy import AROUND, around_brain, brain_fractions
from gmmseg.simulate.fields import add_rician_noise, bias_field, smooth_field

#: Mean intensity of each tissue in a T1-weighted image, in image units.
T1_MEANS: Mapping[str, float] = {
    "GM": 95.0,
    "WM": 130.0,
    "CSF": 40.0,
    "air": 0.0,
    "bone": 15.0,
    "marrow": 115.0,
    "dura": 65.0,
    "muscle": 85.0,
    "fat": 165.0,
    "skin": 90.0,
    "eye": 30.0,
}
_BRAIN = ("GM", "WM", "CSF")  # the BIDS codes 1, 2, 3


@dataclass(frozen=True, slots=True)
class HeadSettings:
    """How :func:`simulate_head` draws a head.

    Attributes
    ----------
    noise : float
        Standard deviation of the complex noise, in % of the white-matter mean.
    bias : float
        Range of the intensity bias over the brain, in %; 20 means a ratio of 1.1 to 0.9.
    bias_fwhm, deformation_fwhm : float
        Smoothness of the bias and displacement fields, in mm.
    deformation : float
        Standard deviation of each component of the displacement, in mm.
    affine : (4, 4) array_like, optional
        Maps world points of the phantom to world points of the tissue maps, before
        the deformation. Identity when left out.
    folding : float
        Depth of the sulci cut into the blurred cortex, in nats; 0 leaves it smooth.
    sharpness : float
        Exponent on the tissue probabilities: 1 keeps the average, larger is crisper.
    texture : float
        Standard deviation of slow intensity variation within a tissue, as a fraction.
    subvoxel : float
        Largest edge of the cells that a voxel is averaged from, in mm.
    means : mapping of str to float
        Intensity of each tissue; the names of `T1_MEANS`.
    """

    noise: float = 3.0
    bias: float = 20.0
    bias_fwhm: float = 90.0
    deformation: float = 3.0
    deformation_fwhm: float = 70.0
    affine: NDArray[np.float64] | None = None
    folding: float = 6.0
    sharpness: float = 5.0
    texture: float = 0.025
    subvoxel: float = 1.0
    means: Mapping[str, float] = field(default_factory=lambda: dict(T1_MEANS))


@dataclass(frozen=True, slots=True, eq=False)
class Phantom:
    """A simulated scan and everything that is true about it."""

    image: NDArray[np.float32]  # (X, Y, Z) image units
    labels: NDArray[np.uint8]  # (X, Y, Z) BIDS codes of the largest fraction: 1 GM, 2 WM, 3 CSF
    fractions: NDArray[np.float32]  # (X, Y, Z, 3) share of the voxel that is GM, WM, CSF
    bias: NDArray[np.float32]  # (X, Y, Z) factor on the intensity, geometric mean 1 in the brain
    mask: NDArray[np.bool_]  # (X, Y, Z) voxels that are at least half brain (CSF included)
    warp: NDArray[np.float32]  # (X, Y, Z, 3) mm to add to a world point to reach the tissue maps


def simulate_head(
    priors: NDArray[np.floating],
    prior_affine: NDArray[np.float64],
    shape: tuple[int, int, int],
    affine: NDArray[np.float64],
    rng: np.random.Generator,
    settings: HeadSettings | None = None,
) -> Phantom:
    """Draw a whole head, scan it, and keep the truth.

    Parameters
    ----------
    priors : (I, J, K, 3) ndarray
        Probability of GM, WM and CSF, between 0 and 1; all zero outside the brain.
    prior_affine : (4, 4) ndarray
        Voxel indices of `priors` to world coordinates in mm (RAS+). The shapes of face
        and neck assume that these coordinates are close to MNI space.
    shape : tuple of 3 ints
        Voxels of the phantom along each axis.
    affine : (4, 4) ndarray
        Voxel indices of the phantom to world coordinates in mm.
    rng : numpy.random.Generator
        Drawn from in a fixed order: the same state gives the same head.
    settings : HeadSettings, optional

    Returns
    -------
    phantom : Phantom

    Raises
    ------
    InputError
        If `priors` has the wrong shape, or no brain falls on the phantom's grid.
    """
    chosen = HeadSettings() if settings is None else settings
    priors = np.asarray(priors, dtype=np.float32)
    if priors.ndim != 4 or priors.shape[3] != 3:
        raise InputError(f"priors must be (I, J, K, 3) maps of GM, WM, CSF; got {priors.shape}.")
    affine = np.asarray(affine, dtype=np.float64)
    spacing = voxel_sizes(affine)
    split = np.maximum(1, np.ceil(spacing / chosen.subvoxel - 1e-6)).astype(int)
    fine_shape = tuple(int(n) for n in np.multiply(shape, split))
    fine_affine = affine @ np.diag([*(1 / split), 1.0])
    fine_affine[:3, 3] += affine[:3, :3] @ (0.5 / split - 0.5)  # cell centres, not voxel corners

    points, warp = _warped_grid(fine_shape, fine_affine, chosen, rng)
    brain = brain_fractions(
        priors,
        prior_affine,
        points,
        spacing / split,
        rng,
        folding=chosen.folding,
        sharpness=chosen.sharpness,
    )
    # Nothing is known of the brain below the last slice of the maps: what goes on there
    # (the cord) is drawn but is not labelled.
    known = points[2] >= (np.asarray(prior_affine) @ [0, 0, 0, 1.0])[2]
    if not (brain * known).any():
        raise InputError(
            "no brain falls on the phantom's grid: check shape, affine and prior_affine."
        )
    around, fluid = around_brain(brain, points, spacing / split, rng)
    brain[2] += fluid

    means = chosen.means
    outside = np.array([means[name] for name in AROUND], dtype=np.float32)[around]
    scene = (1 - brain.sum(axis=0)) * outside
    for fraction, name in zip(brain, _BRAIN, strict=True):
        variation = smooth_field(fine_shape, spacing / split, 30.0, rng)
        scene += fraction * np.float32(means[name]) * (1 + np.float32(chosen.texture) * variation)
    fractions = np.stack([_block_mean(f * known, split) for f in brain], axis=-1)
    clean = _block_mean(scene, split)

    outside_share = np.maximum(1 - fractions.sum(axis=-1, keepdims=True), 0)
    shares = np.concatenate([outside_share, fractions], axis=-1)
    mask = outside_share[..., 0] <= 0.5
    bias = bias_field(mask, spacing, chosen.bias_fwhm, chosen.bias, rng)
    image = add_rician_noise(clean * bias, chosen.noise / 100 * means["WM"], rng)
    return Phantom(
        image=image,
        labels=np.argmax(shares, axis=-1).astype(np.uint8),
        fractions=fractions,
        bias=bias,
        mask=mask,
        warp=np.stack([_block_mean(w, split) for w in warp], axis=-1),
    )


def _warped_grid(
    shape: tuple[int, ...],
    affine: NDArray[np.float64],
    settings: HeadSettings,
    rng: np.random.Generator,
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """World points of the tissue maps for each cell, and the way there from the cell; mm."""
    index = np.indices(shape, dtype=np.float32, sparse=True)
    spacing = voxel_sizes(affine)
    onward = np.eye(4) if settings.affine is None else np.asarray(settings.affine, dtype=float)
    points, warp = [], []
    for axis in range(3):
        row, target = affine[axis], (onward @ affine)[axis]
        here = sum(np.float32(row[a]) * index[a] for a in range(3)) + np.float32(row[3])
        there = sum(np.float32(target[a]) * index[a] for a in range(3)) + np.float32(target[3])
        bend = smooth_field(shape, spacing, settings.deformation_fwhm, rng)
        there = there + np.float32(settings.deformation) * bend
        points.append(there)
        warp.append(there - here)
    return np.stack(points), np.stack(warp)


def _block_mean(values: NDArray, split: NDArray[np.int_]) -> NDArray[np.float32]:
    """Average blocks of ``split`` cells into voxels."""
    x, y, z = np.array(values.shape) // split
    blocks = values.reshape(x, split[0], y, split[1], z, split[2])
    return blocks.mean(axis=(1, 3, 5), dtype=np.float64).astype(np.float32)
