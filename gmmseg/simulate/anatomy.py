"""Anatomy on a grid of cells: the folded brain, and the head drawn around it."""

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from gmmseg.simulate.fields import smooth_field

#: Tissues around the brain; their place here is their code in `around_brain`.
AROUND = ("air", "bone", "marrow", "dura", "muscle", "fat", "skin", "eye")
_CODE = {name: code for code, name in enumerate(AROUND)}


def brain_fractions(
    priors: NDArray[np.float32],
    prior_affine: NDArray[np.float64],
    points: NDArray[np.float32],
    spacing: NDArray[np.float64],
    rng: np.random.Generator,
    *,
    folding: float,
    sharpness: float,
) -> NDArray[np.float32]:
    """Shares of GM, WM, CSF in each cell: the maps, folded and sharpened.

    Parameters
    ----------
    priors : (I, J, K, 3) float32 ndarray
    prior_affine : (4, 4) ndarray
        Voxel indices of `priors` to world coordinates in mm.
    points : (3, X, Y, Z) float32 ndarray
        Where each cell lies in those coordinates.
    spacing : (3,) ndarray
        Edges of a cell in mm.
    rng : numpy.random.Generator
    folding : float
        Depth of the sulci, in nats.
    sharpness : float
        Exponent on the probabilities.

    Returns
    -------
    brain : (3, X, Y, Z) float32 ndarray, summing to 1 in the brain and 0 outside
    """
    to_index = np.linalg.inv(prior_affine).astype(np.float32)
    index = np.tensordot(to_index[:3, :3], points, axes=1)
    index += to_index[:3, 3].reshape(3, 1, 1, 1)
    maps = [
        ndimage.map_coordinates(priors[..., k], index, order=1, mode="nearest") for k in range(3)
    ]
    total = np.sum(maps, axis=0)
    inside = total > 0.5
    share = [np.log(np.maximum(m, 1e-2)) for m in maps]
    if folding > 0:
        # Sulci follow the zero surfaces of a random field: fluid on the sheet, cortex
        # along it; they fade within 20 mm of the surface of the brain.
        depth = ndimage.distance_transform_edt(inside, sampling=spacing)
        rim = np.exp(-0.5 * (depth / 10.0) ** 2).astype(np.float32)
        sheet = smooth_field(inside.shape, spacing, 18.0, rng)
        slope = np.sqrt(sum(g**2 for g in np.gradient(sheet, *map(float, spacing))))
        distance = np.abs(sheet) / np.maximum(slope, 0.03)
        strength = np.float32(folding) * rim
        share[2] += strength * np.exp(-0.5 * (distance / 0.9) ** 2)
        share[1] -= 0.6 * strength * np.exp(-0.5 * (distance / 3.0) ** 2)
    for k in range(3):
        share[k] += 0.25 * smooth_field(inside.shape, spacing, 9.0, rng)
        share[k] *= sharpness
    top = np.maximum.reduce(share)
    brain = np.stack([np.exp(s - top) for s in share])
    brain *= inside / brain.sum(axis=0)
    return brain.astype(np.float32)


def around_brain(
    brain: NDArray[np.float32],
    points: NDArray[np.float32],
    spacing: NDArray[np.float64],
    rng: np.random.Generator,
) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """Draw what lies around the brain.

    Parameters
    ----------
    brain : (3, X, Y, Z) float32 ndarray
        Shares of GM, WM and CSF, as from :func:`brain_fractions`.
    points : (3, X, Y, Z) float32 ndarray
        Where each cell lies in the coordinates of the tissue maps, in mm, near MNI space.
    spacing : (3,) ndarray
        Edges of a cell in mm.
    rng : numpy.random.Generator

    Returns
    -------
    code : (X, Y, Z) uint8 ndarray
        Index into `AROUND`; holds wherever there is no brain.
    fluid : (X, Y, Z) float32 ndarray
        One in the CSF between brain and skull, zero elsewhere.
    """
    x, y, z = points
    inside = brain.sum(axis=0) > 0.5
    beyond = ndimage.distance_transform_edt(~inside, sampling=spacing)
    # The skull bridges the fissures: measure from the brain closed by 12 mm.
    distance = np.where(
        beyond < 12, 12 - ndimage.distance_transform_edt(beyond < 12, sampling=spacing), beyond
    )
    distance = ndimage.gaussian_filter(distance.astype(np.float32), 1.5 / spacing)

    def vary(mean: float, spread: float, fwhm: float = 40.0) -> NDArray[np.float32]:
        values = smooth_field(inside.shape, spacing, fwhm, rng)
        return np.float32(mean) + np.float32(spread) * values

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
