"""Large parts of the brain in template space: deep grey matter, brainstem, cerebellum.

No labelled atlas is packaged. The parts are found in the template's own maps of grey and white
matter by watersheds: a marker in the middle of each part, grown until the gap to its neighbour (the
CSF under the tentorium, the white matter between putamen and insula). Markers are ellipsoids and
planes at positions that textbooks give in MNI space; where there is no gap (midbrain to thalamus,
pons to cerebellum) the border is a plane by convention.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import ndimage
from scipy.special import expit

from gmmseg.spatial.atlas import PARTS

REGIONS = ("SGM", "BS", "CBM")
SOFT_MM = 1.0  # standard deviation of the blur of the borders
NUCLEI_SOFT_MM = 1.5  # the same where the nuclei begin, which differ more between people


@dataclass(frozen=True, slots=True)
class Ellipsoid:
    """A nucleus on the right side, in MNI mm; the left one is its mirror image."""

    name: str
    centre: tuple[float, float, float]
    radii: tuple[float, float, float]
    yaw: float = 0.0  # degrees that its long axis turns outwards towards the back

    def radius(self, points: Sequence[np.ndarray]) -> np.ndarray:
        """Distance from the centre, 1 on the surface.

        Parameters
        ----------
        points : x, y and z arrays that broadcast, mm
        """
        x, y, z = np.abs(points[0]) - self.centre[0], points[1] - self.centre[1], points[2]
        c, s = np.cos(np.deg2rad(self.yaw)), np.sin(np.deg2rad(self.yaw))
        across, along, up = c * x + s * y, -s * x + c * y, z - self.centre[2]
        a, b, h = self.radii
        return np.asarray(np.sqrt((across / a) ** 2 + (along / b) ** 2 + (up / h) ** 2))


NUCLEI = (
    Ellipsoid("thalamus", (11, -19, 6), (8, 14, 9), 25),
    Ellipsoid("putamen", (25, 2, 0), (5, 17, 10), 14),
    Ellipsoid("pallidum", (19.5, -4, -2), (4, 9, 5), 30),
    Ellipsoid("caudate", (13, 12, 6), (4, 10, 10), 10),  # head and front of the body
    Ellipsoid("accumbens", (10, 12, -8), (4, 5, 4)),
)
"""Where the nuclei lie on average (Mai, Majtanik & Paxinos, Atlas of the Human Brain), rounded."""

CAUDATE_BODY = Ellipsoid("caudate body", (16, -5, 21), (4, 14, 4), 15)
NEIGHBOURS = (
    Ellipsoid("amygdala", (22, -4, -21), (7, 7, 5)),
    Ellipsoid("hippocampus", (27, -22, -14), (6, 14, 5)),
    Ellipsoid("insula", (39, 3, 0), (4, 18, 12), 8),
)
"""Grey matter next to the nuclei that is counted as cortex."""

REACH = 1.5
"""Radii up to which grey matter is of a nucleus: individuals differ, and what is labelled white
matter or CSF in between is not counted."""

TO_GREY, TO_WHITE = 0.7, 0.6
"""Shares of white matter in thalamus, pallidum and putamen, and of grey matter in the brainstem,
that change sides."""

PART_REACH = {"thalamus": 1.0, "pallidum": 1.15, "putamen": 1.0}  # radii
OCCIPITAL_Y, OCCIPITAL_MM = -70.0, 2.5
"""In front of which cortex is not occipital, and how softly that begins (logistic), mm: the cortex
behind has more myelin (Glasser & Van Essen 2011, doi 10.1523/JNEUROSCI.2180-11.2011)."""
FRONT_OF_STEM = -5.0  # y in mm

DEEP_BOX = ((-45.0, 45.0), (-55.0, 40.0), (-30.0, 40.0))
"""x, y and z that hold all of it, mm."""

NUCLEI_AND_STEM = ((-45.0, 45.0), (-65.0, 40.0), (-1000.0, 40.0))
"""The same with the brainstem and room for soft borders."""

PEDUNCLE_X, MIDBRAIN_X = 15.0, 17.0
"""Half widths of pons and midbrain, mm."""

BACK_OF_STEM = ((-70, -53), (-55, -48), (-45, -44), (-35, -38), (-25, -37), (-12, -37), (0, -32))
"""(z, y) along the floor of the fourth ventricle, the aqueduct's roof and the colliculi, mm."""


def template_regions(grey: np.ndarray, white: np.ndarray, affine: np.ndarray) -> np.ndarray:
    """Where each of :data:`REGIONS` lies in the template.

    Parameters
    ----------
    grey, white : (X, Y, Z) float ndarray, tissue probability in 0..1, in MNI space
    affine : (4, 4) ndarray, voxel index to template mm; axes along the template's axes

    Returns
    -------
    (X, Y, Z, 3) float32 ndarray, 0..1: share of deep grey matter, brainstem and cerebellum in what
    is tissue; the rest is cerebrum. Borders are softened, the three never add up to more than one.

    References
    ----------
    Vincent & Soille (1991), doi 10.1109/34.87344, for watersheds by flooding.
    """
    points = coordinates(grey.shape, affine)
    hind = hindbrain(grey + white, points, affine)
    stem = hind & _stem(points)
    deep = _deep(points) & ~hind
    return np.stack([_softened(region, affine) for region in (deep, stem, hind & ~stem)], axis=-1)


def nuclei(shape: Sequence[int], affine: np.ndarray) -> np.ndarray:
    """Where grey matter is that of a nucleus, paler than cortex in T1.

    Septum, claustrum and what average maps have of grey matter in the capsules between the nuclei
    are not: with the brightness of a nucleus they would take white matter to themselves.

    Parameters
    ----------
    shape : three int
    affine : (4, 4) ndarray, voxel index to template mm; axes along the template's axes

    Returns
    -------
    (X, Y, Z) float32 ndarray, 0..1, with soft borders; the ellipsoids are those of :data:`NUCLEI`
    """
    return _softened(_deep(coordinates(shape, affine), reach=1.0), affine, NUCLEI_SOFT_MM)


def by_anatomy(
    grey: np.ndarray, white: np.ndarray, affine: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Tissue maps with the nuclei grey and the brainstem white, as anatomy counts them.

    Average maps are made from intensities, which lie between those of cortex and white matter
    there: they have a quarter of grey matter in the pallidum, two thirds in the thalamus, two
    fifths in the back of the putamen and more than half in the brainstem.

    Parameters
    ----------
    grey, white : (X, Y, Z) float ndarray, probability in 0..1, in MNI space
    affine : (4, 4) ndarray, voxel index to template mm; axes along the template's axes

    Returns
    -------
    grey, white : (X, Y, Z) ndarrays of the same sum
    """
    box, part = _nuclei_and_stem(grey.shape, affine)
    grey, white = grey.copy(), white.copy()
    nuclei = np.maximum.reduce([part[name] for name in PART_REACH])
    moved = TO_GREY * nuclei * white[box] - TO_WHITE * part["stem"] * grey[box]
    grey[box] += moved
    white[box] -= moved
    return grey, white


def part_shares(grey: np.ndarray, white: np.ndarray, affine: np.ndarray) -> list[np.ndarray]:
    """How much of its class belongs to each of :data:`gmmseg.spatial.atlas.PARTS`.

    Parameters
    ----------
    grey, white : (X, Y, Z) float ndarray, tissue probability in 0..1, in MNI space
    affine : (4, 4) ndarray, voxel index to template mm; axes along the template's axes

    Returns
    -------
    list of (X, Y, Z) float32 ndarrays, one for each part, 0..1, with soft borders
    """
    points = coordinates(grey.shape, affine)
    cerebellum = _softened(hindbrain(grey + white, points, affine) & ~_stem(points), affine)
    occipital = expit((OCCIPITAL_Y - points[1]) / OCCIPITAL_MM)
    box, inner = _nuclei_and_stem(grey.shape, affine)
    part = {name: np.zeros(grey.shape, np.float32) for name in inner}
    for name, share in inner.items():
        part[name][box] = share
    where = {
        "thalamic GM": part["thalamus"],
        "pallidal GM": part["pallidum"],
        "putaminal GM": np.minimum(part["putamen"], 1 - part["pallidum"]),  # where they overlap
        "brainstem WM": part["stem"],
        "cerebellar GM": cerebellum,
        "cerebellar WM": np.minimum(cerebellum, 1 - part["stem"]),  # both are taken from WM
        "occipital GM": np.minimum(occipital, 1 - cerebellum, dtype=np.float32),
    }
    return [where[name] for name in PARTS]


def _nuclei_and_stem(
    shape: Sequence[int], affine: np.ndarray
) -> tuple[tuple[slice, slice, slice], dict[str, np.ndarray]]:
    """The nuclei of :data:`PART_REACH` and the stem, softly bordered, in a box of the grid."""
    box, points = _within(coordinates(shape, affine), NUCLEI_AND_STEM)
    regions = {
        nucleus.name: nucleus.radius(points) < PART_REACH[nucleus.name]
        for nucleus in NUCLEI
        if nucleus.name in PART_REACH
    }
    stem = _stem(points) & (points[2] < _midbrain_top(points[1])) & (points[1] < FRONT_OF_STEM)
    regions["stem"] = stem
    return box, {name: _softened(region, affine) for name, region in regions.items()}


def _softened(region: np.ndarray, affine: np.ndarray, mm: float = SOFT_MM) -> np.ndarray:
    """A region whose border is blurred, 0..1."""
    blur = mm / np.abs(np.diag(affine)[:3])
    return np.asarray(ndimage.gaussian_filter(region.astype(np.float32), blur))


def coordinates(shape: Sequence[int], affine: np.ndarray) -> list[np.ndarray]:
    """x, y and z of a grid along the template's axes, mm, as arrays that broadcast."""
    index = np.ogrid[tuple(slice(n) for n in shape)]
    return [affine[i, i] * index[i] + affine[i, 3] for i in range(3)]


def hindbrain(tissue: np.ndarray, points: Sequence[np.ndarray], affine: np.ndarray) -> np.ndarray:
    """Brainstem and cerebellum, parted from the cerebrum along the tentorium's CSF; bool."""
    from skimage.segmentation import watershed  # most runs have no need of it

    x, y, z = points
    size, full = np.abs(np.diag(affine)[:3]), tissue.shape
    top = int(np.searchsorted(z.ravel(), 14.0))  # all above is cerebrum
    tissue, z = tissue[..., :top], z[..., :top]
    points = [x, y, z]
    shape = tissue.shape
    markers = np.zeros(shape, np.int8)
    cerebrum = (z > 12) | (y > 0) | ((np.abs(x) > 30) & (y > -25)) | ((y > -20) & (z > -2))
    cerebrum = cerebrum | (y < -102) | ((np.abs(x) > 62) & (z > -30))
    cerebrum = cerebrum | _ball(points, (13, -80, 4), 8) | _ball(points, (26, -40, -8), 5)
    cerebrum = cerebrum | _ball(points, (45, -55, -14), 6) | _ball(points, (22, -28, -16), 5)
    hind = _ball(points, (25, -62, -42), 14) | _ball(points, (0, -62, -28), 9)
    hind = hind | ((np.abs(x) < 8) & (y > -35) & (y < -22) & (z > -45) & (z < -20))
    hind = hind | ((np.abs(x) < 6) & (y > -34) & (y < -24) & (z > -22) & (z < -8))
    hind = hind | _ball(points, (20, -50, -36), 8)
    markers[np.broadcast_to(cerebrum, shape)] = 1
    markers[np.broadcast_to(hind, shape)] = 2
    wall = ndimage.gaussian_filter(1 - np.clip(tissue, 0, 1), 0.7 / size)
    # the midbrain's top: no gap there, so a wall along the plane
    near = (np.abs(z - _midbrain_top(y)) < 1.5) & (np.abs(x) < 25) & (y > -40) & (y < -2)
    wall = np.where(near, 1.0, wall)
    out = np.zeros((*shape[:2], full[2]), bool)
    out[..., :top] = watershed(wall, markers) == 2
    return out


def _midbrain_top(y: np.ndarray) -> np.ndarray:
    """Height of the plane from the posterior commissure to the mamillary bodies, mm."""
    return -3.0 - (y + 25.0) * 10.0 / 16.0


def _stem(points: Sequence[np.ndarray]) -> np.ndarray:
    """Between the peduncles' cuts and in front of the fourth ventricle."""
    x, y, z = points
    levels, backs = zip(*BACK_OF_STEM, strict=True)
    back = np.interp(z, levels, backs)
    half = np.where(z > -22, MIDBRAIN_X, PEDUNCLE_X)
    return np.asarray((np.abs(x) < half) & (y > back))


def _deep(points: Sequence[np.ndarray], reach: float = REACH) -> np.ndarray:
    """What is within so many radii of a nucleus, parted from cortex half way; bool."""
    out = np.zeros(np.broadcast_shapes(*(p.shape for p in points)), bool)
    box, middle = _within(points, DEEP_BOX)
    near = np.minimum.reduce([n.radius(middle) for n in (*NUCLEI, CAUDATE_BODY)])
    far = np.minimum.reduce([other.radius(middle) for other in NEIGHBOURS])
    out[box] = (near < reach) & (near < far)
    return out


def _within(
    points: Sequence[np.ndarray], limits: Sequence[tuple[float, float]]
) -> tuple[tuple[slice, slice, slice], list[np.ndarray]]:
    """The box of a grid between ``limits`` of x, y and z (mm), and its coordinates."""
    cut = [
        (p.ravel() > low) & (p.ravel() < high)
        for p, (low, high) in zip(points, limits, strict=True)
    ]
    x, y, z = (slice(int(c.argmax()), int(len(c) - c[::-1].argmax())) for c in cut)
    return (x, y, z), [points[0][x], points[1][:, y], points[2][..., z]]


def _ball(points: Sequence[np.ndarray], centre: Sequence[float], radius: float) -> np.ndarray:
    """A ball and its mirror image."""
    x, y, z = points
    squares = (np.abs(x) - centre[0]) ** 2 + (y - centre[1]) ** 2 + (z - centre[2]) ** 2
    return np.asarray(squares < radius**2)
