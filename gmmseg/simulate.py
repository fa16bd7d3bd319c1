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
from scipy import ndimage

from gmmseg.checks import InputError

__all__ = [
    "T1_MEANS",
    "HeadSettings",
    "Phantom",
    "add_rician_noise",
    "simulate_head",
    "smooth_field",
]

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
_AROUND = ("air", "bone", "marrow", "dura", "muscle", "fat", "skin", "eye")
_CODE = {name: code for code, name in enumerate(_AROUND)}


@dataclass(frozen=True, slots=True)
class HeadSettings:
    """How :func:`simulate_head` draws a head.

    Attributes
    ----------
    noise : float
        Standard deviation of the complex noise, in % of the white-matter mean.
    bias : float
        Range of the intensity bias over the brain, in %; 20 means 0.9 to 1.1.
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


def smooth_field(
    shape: tuple[int, int, int],
    spacing: NDArray[np.float64],
    fwhm: float,
    rng: np.random.Generator,
) -> NDArray[np.float32]:
    """Random field of zero mean and about unit variance: cubic B-splines on a coarse grid.

    Parameters
    ----------
    shape : tuple of 3 ints
    spacing : (3,) array_like
        Voxel edges in mm.
    fwhm : float
        Distance over which the field varies, in mm; the spline knots lie half as far apart.
    rng : numpy.random.Generator

    Returns
    -------
    values : (X, Y, Z) float32 ndarray

    Examples
    --------
    >>> values = smooth_field((8, 9, 10), (2, 2, 2), 20.0, np.random.default_rng(0))
    >>> values.shape, values.dtype
    ((8, 9, 10), dtype('float32'))
    """
    bases = [_spline_basis(n, 2.0 * edge / fwhm) for n, edge in zip(shape, spacing, strict=True)]
    knots = rng.standard_normal([basis.shape[1] for basis in bases], dtype=np.float32)
    values = np.einsum("ia,abc->ibc", bases[0], knots)
    values = np.einsum("jb,ibc->ijc", bases[1], values)
    values = np.einsum("kc,ijc->ijk", bases[2], values, optimize=True)
    return np.ascontiguousarray(values, dtype=np.float32)


def add_rician_noise(
    image: NDArray[np.floating], sigma: float, rng: np.random.Generator
) -> NDArray[np.float32]:
    """Magnitude of ``image`` plus complex Gaussian noise of standard deviation ``sigma``.

    Examples
    --------
    >>> add_rician_noise(np.array([3.0, 4.0]), 0.0, np.random.default_rng(0))
    array([3., 4.], dtype=float32)
    """
    real = image + sigma * rng.standard_normal(image.shape, dtype=np.float32)
    imaginary = sigma * rng.standard_normal(image.shape, dtype=np.float32)
    return np.hypot(real, imaginary).astype(np.float32)


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
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    split = np.maximum(1, np.ceil(spacing / chosen.subvoxel - 1e-6)).astype(int)
    fine_shape = tuple(int(n) for n in np.multiply(shape, split))
    fine_affine = affine @ np.diag([*(1 / split), 1.0])
    fine_affine[:3, 3] += affine[:3, :3] @ (0.5 / split - 0.5)  # cell centres, not voxel corners

    points, warp = _warped_grid(fine_shape, fine_affine, chosen, rng)
    brain = _brain_fractions(priors, prior_affine, points, spacing / split, chosen, rng)
    if not brain.any():
        raise InputError(
            "no brain falls on the phantom's grid: check shape, affine and prior_affine."
        )
    around, fluid = _around_brain(brain, points, spacing / split, rng)
    brain[2] += fluid
    # Nothing is known of the brain below the last slice of the maps: what goes on there
    # (the cord) is drawn but is not labelled.
    lowest = (np.asarray(prior_affine) @ [0, 0, 0, 1.0])[2]
    known = points[2] >= lowest

    means = chosen.means
    outside = np.array([means[name] for name in _AROUND], dtype=np.float32)[around]
    scene = (1 - brain.sum(axis=0)) * outside
    for fraction, name in zip(brain, _BRAIN, strict=True):
        variation = smooth_field(fine_shape, spacing / split, 30.0, rng)
        scene += fraction * np.float32(means[name]) * (1 + np.float32(chosen.texture) * variation)
    fractions = np.stack([_block_mean(f * known, split) for f in brain], axis=-1)
    clean = _block_mean(scene, split)

    outside_share = np.maximum(1 - fractions.sum(axis=-1, keepdims=True), 0)
    shares = np.concatenate([outside_share, fractions], axis=-1)
    mask = outside_share[..., 0] <= 0.5
    bias = _bias_field(shape, spacing, mask, chosen, rng)
    image = add_rician_noise(clean * bias, chosen.noise / 100 * means["WM"], rng)
    return Phantom(
        image=image,
        labels=np.argmax(shares, axis=-1).astype(np.uint8),
        fractions=fractions,
        bias=bias,
        mask=mask,
        warp=np.stack([_block_mean(w, split) for w in warp], axis=-1),
    )


def _spline_basis(n: int, step: float) -> NDArray[np.float32]:
    """(n, knots) cubic B-splines at ``n`` samples, ``step`` knots apart; unit variance."""
    position = np.arange(n) * step
    knots = int(np.ceil(position[-1])) + 4
    distance = np.abs(position[:, None] - (np.arange(knots) - 1))
    near = 2 / 3 - distance**2 + distance**3 / 2
    far = np.clip(2 - distance, 0, None) ** 3 / 6
    basis = np.where(distance < 1, near, far)
    return np.asarray(basis / np.sqrt((basis**2).sum(axis=1).mean()), dtype=np.float32)


def _block_mean(values: NDArray, split: NDArray[np.int_]) -> NDArray[np.float32]:
    """Average blocks of ``split`` cells into voxels."""
    x, y, z = np.array(values.shape) // split
    blocks = values.reshape(x, split[0], y, split[1], z, split[2])
    return blocks.mean(axis=(1, 3, 5), dtype=np.float64).astype(np.float32)


def _warped_grid(
    shape: tuple[int, ...],
    affine: NDArray[np.float64],
    settings: HeadSettings,
    rng: np.random.Generator,
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """World points of the tissue maps for each cell, and the way there from the cell; mm."""
    index = np.indices(shape, dtype=np.float32, sparse=True)
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    onward = np.eye(4) if settings.affine is None else np.asarray(settings.affine, dtype=float)
    points, warp = [], []
    for axis in range(3):
        row, target = affine[axis], (onward @ affine)[axis]
        here = sum(np.float32(row[a]) * index[a] for a in range(3)) + np.float32(row[3])
        there = sum(np.float32(target[a]) * index[a] for a in range(3)) + np.float32(target[3])
        bend = smooth_field(shape, spacing, settings.deformation_fwhm, rng)  # type: ignore[arg-type]
        there = there + np.float32(settings.deformation) * bend
        points.append(there)
        warp.append(there - here)
    return np.stack(points), np.stack(warp)


def _brain_fractions(
    priors: NDArray[np.float32],
    prior_affine: NDArray[np.float64],
    points: NDArray[np.float32],
    spacing: NDArray[np.float64],
    settings: HeadSettings,
    rng: np.random.Generator,
) -> NDArray[np.float32]:
    """(3, ...) shares of GM, WM, CSF in each cell: the maps, folded and sharpened."""
    to_index = np.linalg.inv(prior_affine).astype(np.float32)
    index = np.tensordot(to_index[:3, :3], points, axes=1)
    index += to_index[:3, 3].reshape(3, 1, 1, 1)
    maps = [
        ndimage.map_coordinates(priors[..., k], index, order=1, mode="nearest") for k in range(3)
    ]
    total = np.sum(maps, axis=0)
    inside = total > 0.5
    share = [np.log(np.maximum(m, 1e-2)) for m in maps]
    if settings.folding > 0:
        # Sulci follow the zero surfaces of a random field: fluid on the sheet, cortex
        # along it; only within 20 mm of the surface of the brain.
        depth = ndimage.distance_transform_edt(inside, sampling=spacing)
        rim = np.exp(-0.5 * (depth / 10.0) ** 2).astype(np.float32)
        sheet = smooth_field(inside.shape, spacing, 18.0, rng)
        slope = np.sqrt(sum(g**2 for g in np.gradient(sheet, *map(float, spacing))))
        distance = np.abs(sheet) / np.maximum(slope, 0.03)
        strength = np.float32(settings.folding) * rim
        share[2] += strength * np.exp(-0.5 * (distance / 0.9) ** 2)
        share[1] -= 0.6 * strength * np.exp(-0.5 * (distance / 3.0) ** 2)
    for k in range(3):
        share[k] += 0.25 * smooth_field(inside.shape, spacing, 9.0, rng)
        share[k] *= settings.sharpness
    top = np.maximum.reduce(share)
    brain = np.stack([np.exp(s - top) for s in share])
    brain *= inside / brain.sum(axis=0)
    return brain.astype(np.float32)


def _around_brain(
    brain: NDArray[np.float32],
    points: NDArray[np.float32],
    spacing: NDArray[np.float64],
    rng: np.random.Generator,
) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """Code of the tissue around the brain in each cell, and the cells that are outer CSF."""
    x, y, z = points
    inside = brain.sum(axis=0) > 0.5
    beyond = ndimage.distance_transform_edt(~inside, sampling=spacing)
    # The skull bridges the fissures: measure from the brain closed by 12 mm.
    distance = np.where(
        beyond < 12, 12 - ndimage.distance_transform_edt(beyond < 12, sampling=spacing), beyond
    )
    distance = ndimage.gaussian_filter(distance.astype(np.float32), 1.5 / spacing)

    def vary(mean: float, spread: float, fwhm: float = 40.0) -> NDArray[np.float32]:
        return np.float32(mean) + np.float32(spread) * smooth_field(
            inside.shape, spacing, fwhm, rng
        )

    def ball(centre: tuple[float, float, float], radii: tuple[float, float, float]) -> NDArray:
        """Depth below the surface of an ellipsoid and its mirror image, roughly in mm."""
        steps = (np.abs(x) - centre[0], y - centre[1], z - centre[2])
        radius = np.sqrt(sum((s / r) ** 2 for s, r in zip(steps, radii, strict=True)))
        return min(radii) * (1 - radius)

    def fill(where: NDArray[np.bool_], name: str) -> None:
        code[where] = _CODE[name]

    fluid_end = np.maximum(vary(1.6, 0.7), 0.4)
    table = fluid_end + 0.9  # the dura lies under the inner table of the skull
    marrow = np.clip(vary(2.6, 1.2), 0.0, 6.0)
    skull_end = table + 3.2 + marrow
    scalp_end = skull_end + np.maximum(vary(7.0, 1.5, fwhm=80), 3.0)
    low = 1 / (1 + np.exp((z + 15) / 8))  # 0 over the vault, 1 at the base of the skull

    neck = 62 - np.hypot(x, (y + 30) / 1.15)
    neck = np.where(z < -35, neck, -1e3)
    face = ball((0, 30, -62), (64, 66, 66))
    nose = ball((0, 92, -52), (13, 20, 22))
    depth = np.maximum.reduce([scalp_end + 6 * low - distance, neck, face, nose])

    patches = vary(0, 1, fwhm=14)
    code = np.full(inside.shape, _CODE["air"], dtype=np.uint8)
    fill(depth > 0, "muscle")
    fill((depth > 0) & (patches > 0.55), "fat")
    fill((depth > 0) & (patches < -1.1) & (distance > 10), "bone")
    fill((depth > 0) & (depth < 4.5 + 0.8 * patches), "fat")
    fill((depth > 0) & (depth < 1.6), "skin")
    orbit, eyeball = ball((33, 62, -36), (18, 20, 17)), ball((33, 68, -36), (12, 12, 12))
    fill((orbit > 0) & (depth > 3), "fat")
    fill((eyeball > 0) & (depth > 1), "eye")
    sinuses = np.maximum.reduce(
        [
            ball((27, 56, -64), (13, 14, 15)),
            ball((0, 28, -45), (10, 13, 10)),
            ball((5, 55, -62), (4, 36, 16)),
            11 - np.hypot(x, (y - 10) / 0.8) + np.where(z < -62, 0, -1e3),
        ]
    )
    fill((sinuses > 0) & (depth > 2), "air")
    shell = distance < skull_end
    fill(shell, "bone")
    spongy = (distance > table + 1.6) & (distance < table + 1.6 + marrow)
    fill(shell & spongy, "marrow")
    fill(distance < table, "dura")
    fluid = (distance < fluid_end) & ~inside
    return code, fluid.astype(np.float32)


def _bias_field(
    shape: tuple[int, int, int],
    spacing: NDArray[np.float64],
    mask: NDArray[np.bool_],
    settings: HeadSettings,
    rng: np.random.Generator,
) -> NDArray[np.float32]:
    """Smooth factor whose range over ``mask`` is ``settings.bias`` percent."""
    log_bias = smooth_field(shape, spacing, settings.bias_fwhm, rng).astype(np.float64)
    log_bias -= log_bias[mask].mean()
    extent = np.ptp(log_bias[mask])
    half = settings.bias / 200
    log_bias *= (np.log1p(half) - np.log1p(-half)) / extent if extent > 0 else 0.0
    return np.exp(log_bias).astype(np.float32)
