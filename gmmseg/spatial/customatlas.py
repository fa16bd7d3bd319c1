"""A head atlas over anybody's tissue maps: any number of classes, the head built around them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from scipy import ndimage

from gmmseg.affines import voxel_sizes
from gmmseg.checks import InputError
from gmmseg.labels import TISSUES
from gmmseg.spatial.atlas import TissueAtlas
from gmmseg.spatial.components import filled
from gmmseg.spatial.headatlas import RIM_MM, head_atlas, resampled
from gmmseg.spatial.onebrain import within
from gmmseg.spatial.starts import BRAIN_TOP_MM, MIDDLE_MM

CSF, FLUID = "CSF", "fluid"
"""The class that fills the space around the others; what stands in for it where there is none."""

MIN_VALUE, MAX_SUM = -0.01, 1.05
"""Of probabilities: beyond what resampling over- and undershoots by."""

MIN_PEAK = 0.02
"""Of a map's largest value in the scale of all; one that runs to 1 has less where another runs to
100 (0.01) or to 255 (0.004), and a class that is nowhere likelier is none."""

MAX_SHARE_OVER = 1e-3  # of all voxels with tissue, that may add up to more
PACKAGED_DEPTH_MM = 1.0  # how far that mask itself reaches beyond its solid tissue
CLOSED_MM = 3.0  # half of the widest gap in a brain that is part of it
FAR_MM = 10.0  # from where the alignment looks for a brain
BRAIN_ML = (5.0, 20000.0)
"""What maps may hold of brain: a marmoset's, and a human one whose header has voxels of twice their
length, but not a mouse's (.5 mL), nor micrometres for mm."""


def maps_atlas(maps: np.ndarray, affine: np.ndarray, names: Sequence[str]) -> TissueAtlas:
    """Build a head atlas from one probability map for each class.

    What the maps leave of a probability of one lies outside the brain; the head there is made from
    distances, as for the packaged atlas.

    Parameters
    ----------
    maps : (X, Y, Z, K) float ndarray
        Probabilities, all scaled alike: to 1, to 100 or to 255.
    affine : (4, 4) ndarray
        Voxel index to template mm (RAS+), oblique or not. Templates whose brain lies far from
        where that of MNI space lies are moved there.
    names : sequence of K distinct str
        ``CSF`` also fills the rim around the brain. Without it, what lies between the classes is
        fluid that belongs to none of them.

    Returns
    -------
    TissueAtlas, about 2 mm voxels; its tissues are ``names``, in their order

    Raises
    ------
    InputError
        If there are fewer than two classes, a name occurs twice, or the maps are not
        probabilities: negative, not finite, empty, overlapping, nowhere more than half; or if
        they hold far less or more than a brain.
    """
    _check_names(names, maps.shape[-1])
    grid, maps = np.asarray(affine, np.float64), _probabilities(maps, names)
    if not _is_upright(grid):
        maps, grid = _upright(maps, grid)
    solid = [k for k, name in enumerate(names) if name != CSF]
    tissue = np.clip(maps[..., solid].sum(-1), 0, 1)
    full = np.clip(maps.sum(-1), 0, 1)
    size = np.abs(np.diag(grid)[:3])
    held = float((full > 0.5).sum() * size.prod() / 1000)
    if not BRAIN_ML[0] <= held <= BRAIN_ML[1]:
        raise InputError(
            f"The atlas maps hold a brain of {held:.1f} mL ({BRAIN_ML[0]:g} to {BRAIN_ML[1]:g} mL "
            f"are allowed; a grown person's has 1000 to 2000); check the voxel size in their "
            f"header, which is taken as mm."
        )
    brain = np.maximum(full, _filled(full, size))
    grid = _moved_to_mni(brain, grid)
    rim = RIM_MM
    if CSF in names:  # maps whose CSF reaches out to the bone need no rim of ours
        usual = max(PACKAGED_DEPTH_MM, float(np.diag(grid)[:3].max()))  # a voxel is no depth yet
        rim = RIM_MM - min(RIM_MM, max(0.0, _csf_depth(tissue, brain, grid) - usual))
    head = head_atlas(tissue, np.zeros_like(tissue), brain, grid, rim_mm=rim)
    fields, _ = resampled([maps[..., k] for k in solid], grid)
    return _divided(head, fields, names)


def _check_names(names: Sequence[str], count: int) -> None:
    if len(names) != count:
        raise InputError(f"{count} tissue maps need as many names; got {len(names)}.")
    if count < 2:
        raise InputError("An atlas needs at least two classes to tell apart; one was given.")
    twice = sorted({name for name in names if list(names).count(name) > 1})
    if twice:
        raise InputError(f"Two maps of the atlas have the name {twice[0]}; each needs its own.")
    if all(name == CSF for name in names):
        raise InputError("An atlas needs a class besides CSF.")


def _probabilities(maps: np.ndarray, names: Sequence[str]) -> np.ndarray:
    """Maps as float32 between 0 and 1, whose sum is at most one.

    >>> _probabilities(np.full((1, 1, 1, 2), 50), ["GM", "WM"]).ravel().tolist()
    [0.5, 0.5]
    """
    maps = np.asarray(maps, np.float32)
    for k, name in enumerate(names):
        values = maps[..., k]
        if not np.isfinite(values).all():
            raise InputError(f"The atlas map of {name} holds voxels that are not finite numbers.")
        if not values.max() > 0:
            raise InputError(f"The atlas map of {name} is empty: no voxel is above 0.")
    largest = float(maps.max())
    scale = next((s for s in (1.0, 100.0, 255.0) if largest <= 1.005 * s), None)
    if scale is None:
        raise InputError(
            f"The atlas maps reach {largest:g}; probabilities run to 1, to 100 or to 255."
        )
    maps = maps / np.float32(scale)
    for k, name in enumerate(names):
        if (low := float(maps[..., k].min())) < MIN_VALUE:
            raise InputError(
                f"The atlas map of {name} is negative (down to {low * scale:g}); "
                f"probabilities are not."
            )
        if (peak := float(maps[..., k].max())) < MIN_PEAK:
            raise InputError(
                f"The atlas map of {name} reaches {peak * scale:.3g} at most, where all maps "
                f"together run to {scale:g} (at least {MIN_PEAK * scale:g} is asked for); scale "
                f"all maps alike."
            )
    maps = np.clip(maps, 0, None)
    total = maps.sum(-1)
    if not total.max() > 0.5:
        raise InputError(
            f"The atlas maps never add up to more than half: {total.max() * scale:.3g} of "
            f"{scale:g} at most. In a brain they add up to about {scale:g}; check their scale."
        )
    over = np.count_nonzero(total > MAX_SUM)
    if over > MAX_SHARE_OVER * np.count_nonzero(total > 0.5):
        raise InputError(
            f"The atlas maps overlap: {over} voxels add up to more than {scale:g} "
            f"(at most {total.max() * scale:.4g}). Give maps of distinct classes."
        )
    return maps / np.maximum(total, 1)[..., None]


def _is_upright(affine: np.ndarray) -> bool:
    """Whether the axes of the grid are those of the template, in their direction."""
    return bool(np.abs(affine[:3, :3] / voxel_sizes(affine) - np.eye(3)).max() < 1e-3)


def _upright(maps: np.ndarray, affine: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The maps on a grid along the template's axes that holds all of them; linear."""
    size = float(voxel_sizes(affine).min())
    ends = np.array([(*ijk, 1.0) for ijk in np.ndindex(2, 2, 2)])
    ends[:, :3] *= np.subtract(maps.shape[:3], 1)
    corners = (ends @ affine.T)[:, :3]
    low, high = corners.min(0), corners.max(0)
    shape = np.ceil((high - low) / size).astype(int) + 1
    grid = np.diag([size, size, size, 1.0])
    grid[:3, 3] = low
    back = np.linalg.inv(affine) @ grid
    fields = [
        ndimage.affine_transform(m, back[:3, :3], back[:3, 3], tuple(shape), order=1)
        for m in np.moveaxis(maps, -1, 0)
    ]
    return np.stack(fields, axis=-1), grid


def _filled(full: np.ndarray, size: np.ndarray) -> np.ndarray:
    """Where the brain is, gaps between its folds and ventricles included: 0 or 1."""
    margin = np.maximum(1, np.ceil(CLOSED_MM / size)).astype(int)
    near = within(np.pad(full > 0.5, margin[:, None]), CLOSED_MM, size)
    closed = filled(~within(~near, CLOSED_MM, size))
    inner = tuple(slice(n, -n) for n in margin)
    return np.asarray(closed[inner], np.float32)


def _moved_to_mni(brain: np.ndarray, affine: np.ndarray) -> np.ndarray:
    """The affine, shifted where the brain lies far from that of MNI space.

    The alignment and the head around the brain count on the top of the brain, its middle from left
    to right, and its middle from back to front.
    """
    index = np.argwhere(brain[::2, ::2, ::2] > 0.5) * 2
    points = index @ affine[:3, :3].T + affine[:3, 3]
    top = np.quantile(points[:, 2], 0.999)
    upper = points[points[:, 2] > top - 100]
    middle = (np.quantile(upper, 0.01, axis=0) + np.quantile(upper, 0.99, axis=0)) / 2
    shift = np.array([*MIDDLE_MM[:2], BRAIN_TOP_MM]) - [middle[0], middle[1], top]
    if np.abs(shift).max() < FAR_MM:
        return affine
    moved = affine.copy()
    moved[:3, 3] += shift
    return moved


def _csf_depth(tissue: np.ndarray, brain: np.ndarray, affine: np.ndarray) -> float:
    """How far the brain reaches beyond its solid tissue, at the top: median, mm."""
    size = np.abs(np.diag(affine)[:3])
    z = affine[2, 2] * np.arange(brain.shape[2]) + affine[2, 3]
    mask = brain > 0.5
    edge = mask & ~ndimage.binary_erosion(mask) & (z > 10)[None, None, :]
    if not edge.any():
        return RIM_MM
    depth = ndimage.distance_transform_edt(tissue < 0.5, sampling=size)[edge]
    return float(np.median(depth))


def _divided(head: TissueAtlas, fields: list[np.ndarray], names: Sequence[str]) -> TissueAtlas:
    """Share the tissue of a head atlas among the given classes."""
    fluid_label = TISSUES.index(CSF)
    inside = np.array(head.labels) < head.n_tissues
    wet = np.array(head.labels) == fluid_label
    tissue = head.maps[..., inside & ~wet].sum(-1)
    fluid = head.maps[..., wet].sum(-1)
    total = np.sum(fields, axis=0) + 1e-6 * len(fields)
    shares = iter([tissue * (field + 1e-6) / total for field in fields])
    classes = [fluid if name == CSF else next(shares) for name in names]
    outer = [name for name, within in zip(head.names, inside, strict=True) if not within]
    rest = [head.maps[..., head.names.index(name)] for name in outer]
    if CSF not in names:
        outer, rest = [FLUID, *outer], [fluid, *rest]
    maps = np.stack([*classes, *rest], axis=-1).astype(np.float32) + np.float32(1e-5)
    labels = (*range(len(names)), *(len(names) for _ in outer))
    maps /= maps.sum(-1, keepdims=True)
    return replace(head, maps=maps, names=(*names, *outer), labels=labels, n_tissues=len(names))
