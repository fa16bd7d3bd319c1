"""Tissues of the brain in one T1-weighted scan: the straight path from image to labels."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from gmmseg import template, volume as volumes
from gmmseg.checks import InputError
from gmmseg.mixture.model import Mixture
from gmmseg.segmentation import Segmentation
from gmmseg.spatial import foreground, mrf, unified
from gmmseg.spatial.align import fit_head, fit_masked
from gmmseg.spatial.atlas import TISSUES
from gmmseg.spatial.intensity import IntensityPrior, starting_model
from gmmseg.spatial.labelling import class_log_joint, clean_brain, tissue_region

MIN_VOXELS = 3000
LATTICE_MM = 3.0
BONE_SAMPLES = 2000.0
TIE_SHARE = 0.15
QUANTILES = {
    "GM": (0.5,), "WM": (0.5,), "CSF": (0.5,), "deep GM": (0.5,),
    "bone": (0.3,), "soft": (0.15, 0.5, 0.85), "air": (0.5,), "outside": (),
}  # fmt: skip
"""Gaussians of each class, and at which quantile of its voxels each starts."""
STAGES = ("reading", "aligning the atlas", "fitting the model", "labelling", "collecting")


@dataclass(frozen=True, slots=True)
class BrainSettings:
    """What can be set for :func:`segment_brain`.

    Attributes
    ----------
    mrf : float
        Potts coupling, nats per neighbour; 0 turns the neighbourhood off.
    bias_fwhm : float
        Shortest wavelength of the bias field, mm.
    bias : bool
        Estimate a bias field.
    stripped : bool, optional
        The scan shows the brain alone; None recognises it.
    threads : int, optional
        Of the compiled kernels; None takes all there are.
    """

    mrf: float = 0.3
    bias_fwhm: float = 60.0
    bias: bool = True
    stripped: bool | None = None
    threads: int | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.mrf <= 10:
            raise InputError(f"mrf must lie between 0 and 10; got {self.mrf:g}.")
        if not 20 <= self.bias_fwhm <= 1000:
            raise InputError(f"bias_fwhm must lie between 20 and 1000 mm; got {self.bias_fwhm:g}.")


def segment_brain(
    image: Any,
    mask: Any = None,
    settings: BrainSettings | None = None,
    *,
    volume_index: int | None = None,
    progress: Callable[[str, float], None] | None = None,
) -> Segmentation:
    """Label grey matter, white matter and CSF in a T1-weighted scan of a head or a brain.

    Parameters
    ----------
    image : path, nibabel image or Volume
    mask : path, nibabel image or (X, Y, Z) array, optional
        Brain mask on the grid of the image; every voxel in it is labelled, none outside.
    settings : BrainSettings, optional
    volume_index : int, optional
        Which volume of a 4-D image, from 0.
    progress : callable, optional
        Told the name of each stage and the fraction of the whole that is done, 0 to 1.

    Returns
    -------
    Segmentation on the grid of the image, classes GM, WM and CSF

    Raises
    ------
    InputError
        If the image or the mask cannot be used, or shows no brain.

    References
    ----------
    Ashburner & Friston (2005), doi 10.1016/j.neuroimage.2005.02.018; Zhang, Brady & Smith (2001),
    doi 10.1109/42.906424; Van Leemput et al. (1999), doi 10.1109/42.811270.
    """
    settings = settings or BrainSettings()
    stages = _Stages(progress)
    stages.enter("reading")
    scan = volumes.read(image, volume=volume_index)
    given = None if mask is None else volumes.read_mask(mask, scan)
    head = _Head.of(scan, given, settings)

    stages.enter("aligning the atlas")
    atlas = template.icbm_head_atlas()
    step = np.maximum(1, np.rint(LATTICE_MM / head.spacing)).astype(int)
    thin = tuple(slice(None, None, s) for s in step)
    coarse, coarse_affine = head.data[thin], head.affine @ np.diag([*step, 1.0])
    if head.mask is None:
        affine = fit_head(coarse, coarse_affine, atlas)
    else:
        affine = fit_masked(coarse, head.mask[thin], coarse_affine, atlas)
        atlas = atlas.without_head()

    stages.enter("fitting the model")
    lattice, first = _lattice(coarse, head, thin, step, affine.matrix @ coarse_affine, atlas)
    scale = 100.0 / np.quantile(lattice.values[lattice.used & ~lattice.outside], 0.98)
    lattice = lattice.scaled(scale)
    prior = unified.prior_at(lattice, atlas)
    n_brain = prior[~lattice.outside[lattice.used], : atlas.n_inside].sum()
    levels = [QUANTILES[name] for name in atlas.names]
    model = starting_model(
        lattice.values[lattice.used], prior, lattice.outside[lattice.used], levels, atlas.n_inside
    )
    options = unified.UnifiedSettings(bias_cutoff_mm=settings.bias_fwhm, fit_bias=settings.bias)
    fit = unified.fit_unified(lattice, atlas, model, _intensity_prior(model, atlas, n_brain), options)

    stages.enter("labelling")
    box = _box(head, fit, lattice, atlas, first, step)
    log_field = _log_field(fit, lattice, first, step, head.data.shape)
    corrected = head.data * np.exp(log_field) * np.float32(scale)
    start = np.array([s.start for s in box]) / step - first
    log_joint = class_log_joint(corrected[box], start, 1 / step, lattice, fit, atlas)
    active = np.ones(log_joint.shape[:3], bool) if head.mask is None else head.mask[box]
    if head.mask is not None:
        log_joint[..., -1] = np.where(active, -50.0, 0.0)
        log_joint[~active, :-1] = -50.0
    q, potts = mrf.mean_field(log_joint, active, head.spacing, settings.mrf)
    brain = clean_brain(q[..., -1], head.spacing) if head.mask is None else active
    if np.count_nonzero(brain) < MIN_VOXELS:
        raise InputError(
            f"Fewer than {MIN_VOXELS} brain voxels were found in the image "
            f"({np.count_nonzero(brain)}); check that it is a T1-weighted scan of a head."
        )

    stages.enter("collecting")
    result = _collect(scan, head, box, q, brain, corrected, log_field, scale)
    shift = float(result.pop("shift"))
    unit = np.exp(-shift) / scale
    names = [(*TISSUES, atlas.names[k])[atlas.labels[k]] for k in fit.model.owner]
    weights = fit.component_counts + 1e-9
    mixture = Mixture(
        weights / weights.sum(),
        fit.model.means[:, None] * unit + head.offset,
        fit.model.variances[:, None, None] * unit**2,
    )
    decisions = {
        "stripped": head.stripped,
        "mask given": given is not None,
        "bias field": settings.bias,
        "affine": affine.matrix.round(5).tolist(),
        "affine objective": affine.objective.round(6).tolist(),
        "largest displacement mm": round(float(np.abs(fit.displacement).max()), 2),
    }
    return Segmentation(
        **result,
        mixture=mixture,
        component_names=tuple(names),
        objective=fit.objective,
        potts_objective=potts,
        stages=stages.finish(),
        decisions=decisions,
        volume=scan,
        settings=settings,
    )


@dataclass(frozen=True, slots=True, eq=False)
class _Head:
    """The scan in RAS+ order, ready for the model: nothing negative, the brain's mask if known."""

    data: np.ndarray  # (X, Y, Z) float32, NaN where missing
    affine: np.ndarray
    spacing: np.ndarray  # mm
    mask: np.ndarray | None
    stripped: bool
    offset: float  # taken off the intensities

    @classmethod
    def of(cls, scan: volumes.Volume, mask: np.ndarray | None, settings: BrainSettings) -> _Head:
        canonical = volumes.to_canonical(scan)
        data, stripped = canonical.data, bool(settings.stripped)
        if mask is not None:
            mask = np.ascontiguousarray(volumes.turn(mask, scan))
        elif settings.stripped is not False:
            mask = foreground.stripped_brain(data, scan.voxel_ml, force=stripped)
            if stripped and mask is None:
                raise InputError(
                    "The image was said to be skull-stripped, but it has no constant background; "
                    "give the brain mask with --mask instead."
                )
            stripped = mask is not None
        if mask is not None and np.count_nonzero(mask) < MIN_VOXELS:
            raise InputError(
                f"The brain mask has {np.count_nonzero(mask)} voxels; "
                f"at least {MIN_VOXELS} are needed to tell tissues apart."
            )
        if data.size < MIN_VOXELS:
            raise InputError(
                f"The image has {data.size} voxels; at least {MIN_VOXELS} of brain are needed."
            )
        lowest = float(np.nanmin(data))
        offset = lowest if lowest < 0 else 0.0
        if offset:
            data = data - np.float32(offset)
        spacing = volumes.voxel_sizes(canonical.affine)
        return cls(data, canonical.affine, spacing, mask, stripped, offset)


def _lattice(coarse, head, thin, step, to_template, atlas):
    """Samples of the joint fit: the brain and 15 mm around it, cut to their box."""
    outside = np.zeros(coarse.shape, bool) if head.mask is None else ~head.mask[thin]
    spacing = head.spacing * step
    used = unified.near_brain(coarse.shape, spacing, to_template, atlas, margin_mm=15.0)
    if head.mask is not None:
        used |= ~outside
    used &= np.isfinite(coarse)
    if np.count_nonzero(used & ~outside) < 100:
        raise InputError("No brain could be found in the image; give its mask with --mask.")
    where = np.nonzero(used)
    first = np.array([w.min() for w in where])
    box = tuple(slice(w.min(), w.max() + 1) for w in where)
    moved = to_template.copy()
    moved[:3, 3] += to_template[:3, :3] @ first
    values = np.nan_to_num(coarse[box].astype(np.float64))
    return unified.Lattice(values, used[box], outside[box], spacing, moved), first


def _intensity_prior(model, atlas, n_brain):
    """Bone is darker than any tissue in any contrast; variances stay of the order of the start."""
    means, samples = model.means.copy(), np.zeros(len(model.means))
    if "bone" in atlas.names:
        bone = np.flatnonzero(model.owner == atlas.names.index("bone"))[0]
        air = means[model.owner == atlas.names.index("air")].min()
        tissue = means[model.owner < atlas.n_inside].min()
        means[bone] = 0.5 * (air + tissue)
        samples[bone] = BONE_SAMPLES
    n = np.count_nonzero(model.owner < atlas.n_inside)
    return IntensityPrior(means, samples, model.group_variances, 20.0, n, TIE_SHARE * n_brain)


def _box(head, fit, lattice, atlas, first, step):
    """Slices of the voxels to label: where tissue may be, or the mask."""
    if head.mask is not None:
        where = np.nonzero(head.mask)
        low = [w.min() - 1 for w in where]
        high = [w.max() + 2 for w in where]
    else:
        where = np.nonzero(tissue_region(fit, lattice, atlas))
        low = [(w.min() + f - 1) * s for w, f, s in zip(where, first, step, strict=True)]
        high = [(w.max() + f + 1) * s + 1 for w, f, s in zip(where, first, step, strict=True)]
    return tuple(
        slice(max(int(a), 0), min(int(b), n))
        for a, b, n in zip(low, high, head.data.shape, strict=True)
    )


def _log_field(fit, lattice, first, step, shape):
    """Log correction at every voxel, float32; held constant beyond the lattice."""
    positions = [
        np.clip(np.arange(n) / s - f, 0, m - 1)
        for n, s, f, m in zip(shape, step, first, lattice.values.shape, strict=True)
    ]
    return fit.basis.resampled(positions).field(fit.coefficients).astype(np.float32)


def _collect(scan, head, box, q, brain, corrected, log_field, scale):
    """Arrays of the result on the grid of the scan."""
    tissues = q[..., :-1]
    total = np.maximum(tissues.sum(-1, keepdims=True), np.float32(1e-30))
    tissues = np.where(brain[..., None], tissues / total, np.float32(0))
    labels = np.where(brain, tissues.argmax(-1) + 1, 0).astype(np.uint8)
    full_labels = np.zeros(head.data.shape, np.uint8)
    full_labels[box] = labels
    posteriors = np.zeros((*head.data.shape, tissues.shape[-1]), np.float32)
    posteriors[box] = tissues
    shift = log_field[box][brain].mean(dtype=np.float64)
    gain = np.float32(np.exp(-shift) / scale)
    return {
        "labels": volumes.from_canonical(full_labels, scan),
        "posteriors": volumes.from_canonical(posteriors, scan),
        "mask": volumes.from_canonical(full_labels > 0, scan),
        "corrected": volumes.from_canonical(corrected * gain + np.float32(head.offset), scan),
        "bias": volumes.from_canonical(np.exp(shift - log_field), scan),
        "shift": shift,
    }


class _Stages:
    """Seconds of each stage, and word of it to whoever watches."""

    def __init__(self, progress):
        self.progress, self.seconds, self.name = progress, {}, None

    def enter(self, name):
        self._leave()
        self.name, self.began = name, time.perf_counter()
        if self.progress is not None:
            self.progress(name, STAGES.index(name) / len(STAGES))

    def finish(self):
        self._leave()
        return self.seconds

    def _leave(self):
        if self.name is not None:
            self.seconds[self.name] = round(time.perf_counter() - self.began, 3)
