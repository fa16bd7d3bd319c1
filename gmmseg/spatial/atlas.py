"""Tissue prior maps of a head: with its parts, without what is around the brain, blurred."""

from dataclasses import dataclass, replace

import numpy as np
from numba import njit

from gmmseg.affines import voxel_sizes
from gmmseg.spatial.blur import blurred
from gmmseg.spatial.boxes import box_of
from gmmseg.threads import spread

CLASSES = ("GM", "WM", "CSF", "deep GM", "bone", "soft", "air")
LABELS = (0, 1, 2, 0, 3, 3, 3)
PARTS = {
    "thalamic GM": "deep GM", "pallidal GM": "deep GM", "putaminal GM": "deep GM",
    "brainstem WM": "WM", "cerebellar GM": "GM", "cerebellar WM": "WM",
    "occipital GM": "GM",
}  # fmt: skip
"""Parts of classes that have an intensity of their own, and the class that each is part of."""

BRAIN = 0.2
"""Share of the brain's classes from which a place counts as brain: its rim is soft."""


@dataclass(frozen=True, slots=True, eq=False)
class TissueAtlas:
    """Prior probability of each class over a template space.

    Attributes
    ----------
    maps : (X, Y, Z, K) float32 ndarray, last axis sums to one
    affine : (4, 4) float64 ndarray, voxel index to template mm (RAS+)
    names : tuple of K str
    labels : tuple of K int
        Which tissue each class is part of; ``n_tissues`` for what lies outside the brain. Classes
        of the brain come first.
    n_tissues : int
    shares : (X, Y, Z, P) uint8 ndarray, optional
        How much of its class belongs to each of :data:`PARTS`, 0 to 255; see :meth:`parted`.
    """

    maps: np.ndarray
    affine: np.ndarray
    names: tuple[str, ...]
    labels: tuple[int, ...]
    n_tissues: int
    shares: np.ndarray | None = None

    @property
    def n_inside(self) -> int:
        """How many of the classes lie in the brain."""
        return sum(label < self.n_tissues for label in self.labels)

    @property
    def tissues(self) -> tuple[str, ...]:
        """Name of each tissue: that of the first class that is part of it."""
        return tuple(self.names[self.labels.index(t)] for t in range(self.n_tissues))

    def smoothed(self, sigma_mm: float) -> "TissueAtlas":
        """Return the atlas blurred by a Gaussian of ``sigma_mm`` (standard deviation, mm).

        Blurring widens the reach of the alignment; maps are held constant beyond their border and
        sum to one again afterwards. Voxels grow to at most two thirds of ``sigma_mm``, by a whole
        factor.
        """
        size = voxel_sizes(self.affine)
        step = np.maximum(1, (sigma_mm / 1.5 + 1e-9) // size).astype(int)
        maps = blurred(self.maps, sigma_mm / size, step.tolist())
        return replace(self, maps=maps, affine=self.affine @ np.diag([*step, 1.0]), shares=None)

    def around_brain(self, margin_mm: float) -> "TissueAtlas":
        """Return the atlas as far as ``margin_mm`` beyond where a fifth of the head is brain."""
        n = self.n_inside
        inside = np.empty(self.maps.shape[:3], bool)
        spread(_holds, len(inside), self.maps, n, BRAIN, inside)
        size = voxel_sizes(self.affine)
        box = box_of(inside, np.ceil(margin_mm / size).astype(int).tolist())
        affine = self.affine.copy()
        affine[:3, 3] += affine[:3, :3] @ [side.start for side in box]
        shares = None if self.shares is None else self.shares[box].copy()
        return replace(self, maps=self.maps[box].copy(), affine=affine, shares=shares)

    def parted(self) -> "TissueAtlas":
        """Return the atlas with :data:`PARTS` as classes, where it knows them.

        Tissue does not look alike everywhere: thalamus, putamen, pallidum and brainstem are between
        cortex and white matter, the cerebellum has a contrast of its own. Class means that differ
        from place to place are those of AMAP (Rajapakse et al. 1997, doi 10.1109/42.563663).
        """
        if self.shares is None:
            return self
        n = self.n_inside
        whole = [self.names.index(name) for name in PARTS.values()]
        maps = np.empty((*self.shares.shape[:3], len(self.names) + len(PARTS)), np.float32)
        spread(_part, len(maps), self.maps, self.shares, np.array(whole), n, maps)
        labels = (*self.labels[:n], *(self.labels[k] for k in whole), *self.labels[n:])
        names = (*self.names[:n], *PARTS, *self.names[n:])
        return TissueAtlas(maps, self.affine, names, labels, self.n_tissues)

    def without_head(self) -> "TissueAtlas":
        """Return the atlas with everything outside the brain merged into one class.

        For scans whose brain mask is known, where nothing tells bone from air.
        """
        n = self.n_inside
        maps = np.empty((*self.maps.shape[:3], n + 1), np.float32)
        spread(_merge, len(maps), self.maps, maps)
        names, labels = (*self.names[:n], "outside"), (*self.labels[:n], self.n_tissues)
        return TissueAtlas(maps, self.affine, names, labels, self.n_tissues, self.shares)


@dataclass(frozen=True, slots=True, eq=False)
class Blurred:
    """An atlas as the alignment sees it.

    Attributes
    ----------
    coarse, fine : TissueAtlas
        Blurred by 6 mm, for climbs from far, and by 1.5 mm (standard deviations).
    """

    coarse: TissueAtlas
    fine: TissueAtlas

    @classmethod
    def of(cls, atlas: TissueAtlas) -> "Blurred":
        """Blur an atlas, with the head around the brain."""
        return cls(atlas.smoothed(6.0), atlas.smoothed(1.5))


@njit(cache=True, nogil=True)
def _holds(
    first: int, stop: int, maps: np.ndarray, n_classes: int, least: float, out: np.ndarray
) -> None:
    """Write where the first so many classes together have more than ``least``."""
    for i in range(first, stop):
        for j in range(maps.shape[1]):
            for k in range(maps.shape[2]):
                total = 0.0
                for c in range(n_classes):
                    total += maps[i, j, k, c]
                out[i, j, k] = total > least


@njit(cache=True, nogil=True)
def _part(
    first: int,
    stop: int,
    maps: np.ndarray,
    shares: np.ndarray,
    whole: np.ndarray,
    n_inside: int,
    out: np.ndarray,
) -> None:
    """Write the classes of the brain less their parts, the parts, and the classes around it."""
    _, ny, nz, n_classes = maps.shape
    n_parts = shares.shape[3]
    for i in range(first, stop):
        for j in range(ny):
            for k in range(nz):
                to = out[i, j, k]
                for c in range(n_classes):
                    to[c if c < n_inside else c + n_parts] = maps[i, j, k, c]
                for p in range(n_parts):
                    share = np.float32(shares[i, j, k, p]) * np.float32(1 / 255)
                    part = share * maps[i, j, k, whole[p]]
                    to[n_inside + p] = part
                    to[whole[p]] = max(to[whole[p]] - part, np.float32(0.0))


@njit(cache=True, nogil=True)
def _merge(first: int, stop: int, maps: np.ndarray, out: np.ndarray) -> None:
    """Write the classes of the brain, and the sum of all others."""
    _, ny, nz, n_classes = maps.shape
    last = out.shape[3] - 1
    for i in range(first, stop):
        for j in range(ny):
            for k in range(nz):
                to = out[i, j, k]
                for c in range(last):
                    to[c] = maps[i, j, k, c]
                to[last] = maps[i, j, k, last]
                for c in range(last + 1, n_classes):
                    to[last] += maps[i, j, k, c]
