"""What can befall a scan: turned, shifted, cut, shaded, coarse, noisy, of another contrast.

Each function takes a scan and gives the scan that might have been taken instead, with the way back
to the voxels it came from, so that labels of both can be compared.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy import ndimage
from scipy.spatial.transform import Rotation

from gmmseg.affines import voxel_sizes
from gmmseg.simulate.fields import add_rician_noise

CONTRASTS = {"inverted": (0.6,), "t2": (2.0, 1.1, 0.8, 0.6), "pd": (0.95, 1.0, 0.8, 0.6)}
"""CSF, GM, WM and the rest of the head in other contrasts, in units of white matter in T1; in the
first, tissues change places and keep their distances."""


@dataclass(frozen=True, slots=True, eq=False)
class Scan:
    """A scan, and where its voxels come from.

    Attributes
    ----------
    data : (X, Y, Z) float32 ndarray, image units, nothing negative
    affine : (4, 4) float64 ndarray, voxel index to world mm; axes in RAS+ order
    to_source : (4, 4) float64 ndarray
        Voxel index to voxel index of the scan that this one was made from.
    """

    data: np.ndarray
    affine: np.ndarray
    to_source: np.ndarray

    @classmethod
    def of(cls, data: ArrayLike, affine: ArrayLike) -> Scan:
        """A scan that nothing has befallen yet."""
        return cls(np.asarray(data, np.float32), np.asarray(affine, np.float64), np.eye(4))

    @property
    def spacing(self) -> np.ndarray:
        """(3,) voxel edges, mm."""
        return voxel_sizes(self.affine)

    def fetch(self, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Labels of the source on this grid, by nearest neighbour.

        Parameters
        ----------
        labels : (I, J, K) ndarray, on the grid of the source

        Returns
        -------
        labels : (X, Y, Z) ndarray, 0 outside the source
        inside : (X, Y, Z) bool ndarray, voxels that lie in the source
        """
        index = _indices(self.data.shape)
        known = np.ones(self.data.shape, bool)
        source = []
        for axis in range(3):
            row = self.to_source[axis].astype(np.float32)
            place = row[0] * index[0] + row[1] * index[1] + row[2] * index[2] + row[3]
            nearest = np.floor(place + np.float32(0.5)).astype(np.int32)
            known &= (nearest >= 0) & (nearest < labels.shape[axis])
            source.append(np.clip(nearest, 0, labels.shape[axis] - 1))
        return np.where(known, labels[tuple(source)], 0).astype(labels.dtype), known


def turned_header(scan: Scan, rotation: ArrayLike) -> Scan:
    """Same voxels, said to lie turned about the middle by a rotation vector (3,), degrees."""
    return Scan(scan.data, _turn(scan, rotation) @ scan.affine, scan.to_source)


def turned(scan: Scan, rotation: ArrayLike, *, order: int = 3) -> Scan:
    """The head turned in the scanner about the middle; the grid stays.

    ``rotation`` is a rotation vector (3,), degrees; ``order`` is that of the interpolating spline,
    0 for nearest neighbour. What leaves the field of view is lost.
    """
    back = np.linalg.inv(scan.affine) @ np.linalg.inv(_turn(scan, rotation)) @ scan.affine
    data = ndimage.affine_transform(
        scan.data, back[:3, :3], back[:3, 3], order=order, mode="grid-constant"
    )
    return Scan(np.maximum(data, 0), scan.affine, scan.to_source @ back)


def resized_header(scan: Scan, factor: ArrayLike) -> Scan:
    """Same voxels, said to be ``factor`` (scalar, or (3,) for each side) times as long.

    A child's head, a giant's, or one that a wrong header squashes.
    """
    affine = scan.affine.copy()
    affine[:3, :3] *= factor
    return Scan(scan.data, affine, scan.to_source)


def mirrored_header(scan: Scan, axes: Sequence[int]) -> Scan:
    """Same voxels, said to run the other way along axes of the grid; upside down, back to front."""
    ends = np.subtract(scan.data.shape, 1)
    flip = np.eye(4)
    for axis in axes:
        flip[axis, axis], flip[axis, 3] = -1, ends[axis]
    return Scan(scan.data, scan.affine @ flip, scan.to_source)


def moved_header(scan: Scan, shift_mm: ArrayLike) -> Scan:
    """Same voxels, said to lie ``shift_mm`` (3,) further."""
    affine = scan.affine.copy()
    affine[:3, 3] += shift_mm
    return Scan(scan.data, affine, scan.to_source)


def without_origin(scan: Scan) -> Scan:
    """Same voxels; the header gives their size and order alone, the first lies at 0 mm."""
    return Scan(scan.data, np.diag([*scan.spacing, 1.0]), scan.to_source)


def shifted(scan: Scan, axis: int, shift_mm: float) -> Scan:
    """The head moved along an axis of the grid; what leaves the field of view is lost."""
    n = int(np.rint(shift_mm / scan.spacing[axis]))
    data = np.zeros_like(scan.data)
    to, out = [slice(None)] * 3, [slice(None)] * 3
    to[axis] = slice(max(n, 0), scan.data.shape[axis] + min(n, 0))
    out[axis] = slice(max(-n, 0), scan.data.shape[axis] + min(-n, 0))
    data[tuple(to)] = scan.data[tuple(out)]
    back = np.eye(4)
    back[axis, 3] = -n
    return Scan(data, scan.affine, scan.to_source @ back)


def cropped(scan: Scan, axis: int, low_mm: float, high_mm: float) -> Scan:
    """Field of view shorter by ``low_mm`` at the start of an axis and ``high_mm`` at its end."""
    first, last = np.rint(np.array([low_mm, high_mm]) / scan.spacing[axis]).astype(int)
    keep = [slice(None)] * 3
    keep[axis] = slice(first, scan.data.shape[axis] - last)
    back = np.eye(4)
    back[axis, 3] = first
    data = np.ascontiguousarray(scan.data[tuple(keep)])
    return Scan(data, scan.affine @ back, scan.to_source @ back)


def with_neck(scan: Scan, length_mm: float) -> Scan:
    """Field of view longer at the bottom, filled by repeating the lowest slice."""
    n = int(np.rint(length_mm / scan.spacing[2]))
    back = np.eye(4)
    back[2, 3] = -n
    data = np.pad(scan.data, [(0, 0), (0, 0), (n, 0)], mode="edge")
    return Scan(data, scan.affine @ back, scan.to_source @ back)


def defaced(scan: Scan, to_template: np.ndarray, brain: np.ndarray, keep_mm: float = 8.0) -> Scan:
    """Face set to zero: what lies in front of and below a slanted plane under the brain.

    Parameters
    ----------
    scan : Scan
    to_template : (4, 4) ndarray, world mm to mm of the MNI template
    brain : (X, Y, Z) bool ndarray; nothing within ``keep_mm`` of it is taken off
    keep_mm : float
    """
    matrix = to_template @ scan.affine
    i, j, k = _indices(scan.data.shape)
    y, z = (np.float32(r[0]) * i + np.float32(r[1]) * j + np.float32(r[2]) * k + np.float32(r[3])
            for r in (matrix[1], matrix[2]))  # fmt: skip
    face = (y > 10) & (z < -45 + 0.4 * (y - 10))
    face &= ndimage.distance_transform_edt(~brain, sampling=scan.spacing) > keep_mm
    return Scan(np.where(face, np.float32(0), scan.data), scan.affine, scan.to_source)


def shaded(scan: Scan, axis: int, low: float, high: float) -> Scan:
    """Intensities times a factor that goes geometrically from ``low`` to ``high`` over the head."""
    first, last = head_extent(scan.data)[axis]
    place = np.clip((np.arange(scan.data.shape[axis]) - first) / (last - first), -0.5, 1.5)
    shape = [1, 1, 1]
    shape[axis] = -1
    field = (low * (high / low) ** place).reshape(shape).astype(np.float32)
    return Scan(scan.data * field, scan.affine, scan.to_source)


def coarse(scan: Scan, spacing: ArrayLike) -> Scan:
    """Longer voxels, each the mean over its extent; axes already as coarse stay as they are."""
    data, back = scan.data, np.eye(4)
    for axis, wanted in enumerate(np.asarray(spacing, float)):
        ratio = wanted / scan.spacing[axis]
        if ratio <= 1.01:
            continue
        edges = np.arange(int(scan.data.shape[axis] / ratio + 1e-6) + 1) * ratio
        total = np.cumsum(np.moveaxis(data, axis, -1), axis=-1, dtype=np.float64)
        total = np.concatenate([np.zeros_like(total[..., :1]), total], axis=-1)
        low = np.minimum(edges.astype(int), total.shape[-1] - 2)
        part = edges - low
        at_edges = (1 - part) * total[..., low] + part * total[..., low + 1]
        means = np.diff(at_edges, axis=-1) / ratio
        data = np.moveaxis(means, -1, axis).astype(np.float32)
        back[axis, axis], back[axis, 3] = ratio, 0.5 * (ratio - 1)
    data = np.ascontiguousarray(data)
    return Scan(data, scan.affine @ back, scan.to_source @ back)


def noisy(scan: Scan, sigma: float, rng: np.random.Generator) -> Scan:
    """Rician noise of standard deviation ``sigma`` (image units) on top."""
    return Scan(add_rician_noise(scan.data, sigma, rng), scan.affine, scan.to_source)


def with_stray_values(scan: Scan, number: int, rng: np.random.Generator) -> Scan:
    """``number`` voxels a hundred times as bright as the brightest, and as many as far below 0."""
    data = scan.data.copy()
    data.flat[rng.integers(data.size, size=number)] = 100 * scan.data.max()
    data.flat[rng.integers(data.size, size=number)] = -100 * scan.data.max()
    return Scan(data, scan.affine, scan.to_source)


def padded(scan: Scan, head: np.ndarray, value: float) -> Scan:
    """All outside ``head`` (X, Y, Z), bool, set to one value."""
    return Scan(np.where(head, scan.data, np.float32(value)), scan.affine, scan.to_source)


def noisy_air(scan: Scan, head: np.ndarray, rng: np.random.Generator) -> Scan:
    """Noise as bright as tissue outside ``head`` (X, Y, Z), bool: a ratio of images, as MP2RAGE."""
    noise = rng.uniform(0, np.quantile(scan.data[head], 0.99), scan.data.shape)
    return Scan(np.where(head, scan.data, noise.astype(np.float32)), scan.affine, scan.to_source)


def scaled(scan: Scan, factor: float) -> Scan:
    """Intensities in another unit."""
    return Scan(scan.data * np.float32(factor), scan.affine, scan.to_source)


def recoloured(scan: Scan, contrast: str, brain: np.ndarray, means: ArrayLike) -> Scan:
    """A T1-weighted scan with the tissue contrast of another sequence; air and bone stay dark.

    Inside the brain intensities run through the new levels of the tissues, so that mixed voxels
    and noise come along; around it they are scaled.

    Parameters
    ----------
    scan : Scan
    contrast : str, one of :data:`CONTRASTS`
    brain : (X, Y, Z) bool ndarray, brain and CSF
    means : (3,) array_like, intensity of CSF, GM and WM, rising
    """
    csf, grey, white = np.asarray(means, float)
    *levels, rest = (white * level for level in CONTRASTS[contrast])
    if contrast == "inverted":  # a mirror, which keeps noise and mixed voxels as they are
        inner = np.maximum(csf + white - scan.data, 0)
    else:
        # Half a step further at either end, or noise would pile up at the outer levels.
        into = [1.5 * csf - 0.5 * grey, csf, grey, white, 1.5 * white - 0.5 * grey]
        ends = 1.5 * levels[0] - 0.5 * levels[1], 1.5 * levels[2] - 0.5 * levels[1]
        inner = np.interp(scan.data, into, [ends[0], *levels, ends[1]])
    share = ndimage.gaussian_filter(brain.astype(np.float32), 0.5)
    data = share * inner + (1 - share) * (rest / white) * scan.data
    return Scan(data.astype(np.float32), scan.affine, scan.to_source)


def head_extent(data: np.ndarray) -> np.ndarray:
    """(3, 2) first and last voxel of the head along each axis, but for a hundredth of it."""
    index = np.nonzero(data[::2, ::2, ::2] > 0.15 * np.quantile(data[::2, ::2, ::2], 0.99))
    return 2 * np.array([np.quantile(i, [0.01, 0.99]) for i in index])


def _turn(scan: Scan, rotation: ArrayLike) -> np.ndarray:
    """(4, 4) rotation of the world about the middle of the grid."""
    turn = np.eye(4)
    turn[:3, :3] = Rotation.from_rotvec(np.asarray(rotation, float), degrees=True).as_matrix()
    middle = scan.affine @ [*((np.array(scan.data.shape) - 1) / 2), 1]
    turn[:3, 3] = middle[:3] - turn[:3, :3] @ middle[:3]
    return turn


def _indices(shape: tuple[int, ...]) -> list[np.ndarray]:
    """Voxel indices along each axis, float32, shaped to be combined by broadcasting."""
    ranges = [np.arange(n, dtype=np.float32) for n in shape]
    return list(np.meshgrid(*ranges, indexing="ij", sparse=True))
