"""Tissues of the brain in one T1-weighted scan: the straight path from image to labels."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import numpy as np

from gmmseg import atlasfiles, contrast, selfcheck
from gmmseg import volume as volumes
from gmmseg.checks import InputError
from gmmseg.headscan import HeadScan
from gmmseg.labels import TISSUES
from gmmseg.maskfile import read_mask
from gmmseg.mixture.libraries import one_blas_thread
from gmmseg.mixture.model import Mixture
from gmmseg.settings import BrainSettings
from gmmseg.spatial import labelling, plausibility, trend, unified
from gmmseg.spatial.align import AffineFit, fit_head, fit_masked
from gmmseg.spatial.atlas import Blurred, TissueAtlas
from gmmseg.spatial.brainlabels import label_brain
from gmmseg.spatial.carry import TemplateMap
from gmmseg.spatial.fractions import brain_fractions, check_tissues
from gmmseg.spatial.jointfit import decided_fit
from gmmseg.spatial.lattice import MARGIN_MM, Lattice, lattice_step, sample_lattice
from gmmseg.spatial.lost import lost_slices, remark, without
from gmmseg.threads import n_threads, on_threads, spread, use_threads
from gmmseg.tissues import BrainSegmentation

STAGES = (
    *("reading", "aligning the atlas", "fitting the model", "labelling"),
    *("mixed voxels", "collecting"),
)


def segment_brain(
    image: Any,
    mask: Any = None,
    settings: BrainSettings | None = None,
    *,
    volume_index: int | None = None,
    progress: Callable[[str, float], None] | None = None,
) -> BrainSegmentation:
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
    BrainSegmentation on the grid of the image; classes GM, WM and CSF, or those of
    ``settings.atlas``. Its ``warnings`` say what speaks against it, a sentence each; see
    :mod:`gmmseg.selfcheck`.

    Raises
    ------
    InputError
        If the image or the mask cannot be used, or shows no brain.

    References
    ----------
    Ashburner & Friston (2005), doi 10.1016/j.neuroimage.2005.02.018; Zhang, Brady & Smith (2001),
    doi 10.1109/42.906424; Van Leemput et al. (1999), doi 10.1109/42.811270.
    """
    found = unchecked(image, mask, settings, volume_index=volume_index, progress=progress)
    return selfcheck.doubted(found, selfcheck.check(found))


def unchecked(
    image: Any,
    mask: Any,
    settings: BrainSettings | None,
    *,
    volume_index: int | None = None,
    progress: Callable[[str, float], None] | None = None,
) -> BrainSegmentation:
    """:func:`segment_brain` before its self-check, which a job makes while it writes files."""
    settings = BrainSettings() if settings is None else settings
    if not isinstance(settings, BrainSettings):
        raise InputError(
            f"The settings must be gmmseg.BrainSettings, not {type(settings).__name__}; "
            f"of a dict, give BrainSettings(**settings)."
        )
    with on_threads(settings.threads), one_blas_thread():
        return _segmented(image, mask, settings, volume_index, _Stages(progress))


def _segmented(
    image: Any, mask: Any, settings: BrainSettings, volume_index: int | None, stages: _Stages
) -> BrainSegmentation:
    """The path itself, stage by stage."""
    stages.enter("reading")
    with _beside() as pool:  # most of both is done without the interpreter lock
        maps = pool.submit(_atlas, settings)
        scan = volumes.read(image, volume=volume_index)
        given = None if mask is None else read_mask(mask, scan)
        lost = lost_slices(scan.data)
        head = HeadScan.of(replace(scan, data=without(scan.data, lost)), given, settings.stripped)
        atlas, blurred = maps.result()
        del maps  # which holds what it returned

    stages.enter("aligning the atlas")
    lattice, affine = _aligned(head, atlas, blurred)
    shape, off = head.data.shape, settings.bias == "off"
    shading = None if off else trend.strong_shading(lattice, atlas, shape)
    if shading is not None:  # it may have led the alignment astray
        evened = head.data * np.exp(-shading)
        lattice, affine = _aligned(replace(head, data=evened), atlas, blurred)
        del evened
    del blurred
    atlas = atlas.around_brain(2 * MARGIN_MM)  # samples, and room for their displacement
    if head.mask is not None:
        atlas = atlas.without_head()  # first: the fewer classes, the less to copy
    if settings.parts:
        atlas = atlas.parted()

    stages.enter("fitting the model")
    decided = decided_fit(lattice, atlas, settings)
    fit = decided.fit

    stages.enter("labelling")
    corrected = _log_correction(fit, lattice, shape, shading)
    spread(_correct, shape[0], head.data, corrected)
    head = replace(head, data=corrected)  # a copy less of the scan from here on
    strength = None if settings.mrf == "auto" else float(settings.mrf)
    found = label_brain(corrected, head.mask, head.spacing, lattice, fit, atlas, strength)

    mixed = None
    if settings.pve:
        stages.enter("mixed voxels")
        mixed = brain_fractions(corrected, found.labels, head.spacing, lattice, fit, atlas)

    stages.enter("collecting")
    brain = found.labels > 0
    with _beside() as pool:  # NumPy has one thread
        measured = pool.submit(
            plausibility.measure, lattice, atlas, fit, found.labels, affine.matrix
        )
        # Made anew, in a moment: the labels are where memory is fullest.
        bias = _log_correction(fit, lattice, shape, shading)
        shift = bias[brain].mean(dtype=np.float64)  # geometric mean 1 in the brain
        gain = float(np.exp(-shift)) * head.unit
        spread(_rescale, shape[0], corrected, np.float32(gain), np.float32(head.offset))
        spread(_invert, shape[0], bias, np.float32(shift))
    components = tuple(atlas.names[k] for k in fit.model.owner)
    class_means = fit.model.class_means(len(atlas.names)).tolist()
    means = {n: m for n, m in zip(atlas.names, class_means, strict=True) if n in TISSUES}
    return BrainSegmentation(
        labels=volumes.from_canonical(found.labels, scan),
        posteriors=volumes.from_canonical(found.posteriors, scan),
        mask=volumes.from_canonical(brain, scan),
        corrected=volumes.from_canonical(corrected, scan),
        bias=volumes.from_canonical(bias, scan),
        mixture=_mixture(fit, gain, head.offset),
        component_names=components,
        objective=fit.objective - np.log(head.unit),
        warnings=remark(lost),
        potts_objective=found.bound,
        uncertainty=volumes.from_canonical(found.entropy, scan),
        contacts=found.contacts,
        figures={
            "mislabelled by noise": found.mislabelled,
            **measured.result(),
        },
        stages=stages.finish(),
        decisions={
            "mask given": given is not None,
            **head.summary(),
            "atlas": list(settings.atlas) or "packaged",
            "contrast": contrast.decide(settings.contrast, means),
            "strong shading": shading is not None,
            **decided.summary(),
            **found.summary(gain),
            **affine.summary(),
            **({} if mixed is None else mixed.summary(gain, head.offset)),
        },
        volume=scan,
        settings=settings,
        names=atlas.tissues,
        template_map=TemplateMap.of(fit, lattice),
        fractions=None if mixed is None else volumes.from_canonical(mixed.fractions, scan),
    )


def _beside() -> ThreadPoolExecutor:
    """One more thread, whose kernels run on as many as those of this one."""
    return ThreadPoolExecutor(1, initializer=use_threads, initargs=(n_threads(),))


def _atlas(settings: BrainSettings) -> tuple[TissueAtlas, Blurred]:
    """The atlas of the head, and as the alignment sees it."""
    atlas, blurred = atlasfiles.taken(settings.atlas, settings.atlas_names)
    if settings.pve:
        check_tissues(atlas)
    return atlas, blurred


def _aligned(head: HeadScan, atlas: TissueAtlas, blurred: Blurred) -> tuple[Lattice, AffineFit]:
    """Affine alignment, and the samples for everything after it."""
    step = lattice_step(head.spacing)
    thin = (slice(None, None, step[0]), slice(None, None, step[1]), slice(None, None, step[2]))
    coarse, to_world = head.data[thin], head.affine @ np.diag([*step, 1.0])
    mask = None if head.mask is None else head.mask[thin]
    if mask is None:
        affine = fit_head(coarse, to_world, blurred)
    else:
        affine = fit_masked(coarse, mask, to_world, blurred)
    to_template, spacing = affine.matrix @ to_world, head.spacing * step
    return sample_lattice(coarse, mask, spacing, to_template, atlas, step), affine


def _log_correction(
    fit: unified.UnifiedFit,
    lattice: Lattice,
    shape: tuple[int, ...],
    shading: np.ndarray | None,
) -> np.ndarray:
    """Log of all that the scan is multiplied by: a bias field, and shading taken off before."""
    correction = labelling.log_correction(fit, lattice, shape)
    if shading is not None:
        correction -= shading
    return correction


def _correct(first: int, stop: int, data: np.ndarray, log_correction: np.ndarray) -> None:
    """Replace a log correction by the scan times its exponential."""
    part = log_correction[first:stop]
    np.exp(part, out=part)
    part *= data[first:stop]


def _rescale(
    first: int, stop: int, values: np.ndarray, gain: np.float32, offset: np.float32
) -> None:
    """Multiply by a gain, then add an offset."""
    part = values[first:stop]
    part *= gain
    part += offset


def _invert(first: int, stop: int, log_correction: np.ndarray, shift: np.float32) -> None:
    """Replace the log of a correction by the field that it takes off, over ``exp(shift)``."""
    part = log_correction[first:stop]
    np.exp(np.subtract(shift, part, out=part), out=part)


def _mixture(fit: unified.UnifiedFit, gain: float, offset: float) -> Mixture:
    """The fitted Gaussians in intensities of the corrected image."""
    weights = fit.component_counts + 1e-9
    means, variances = fit.model.means[:, None], fit.model.variances[:, None, None]
    return Mixture(weights / weights.sum(), means * gain + offset, variances * gain**2)


class _Stages:
    """Seconds of each stage, and word of it to whoever watches."""

    def __init__(self, progress: Callable[[str, float], None] | None) -> None:
        self.progress = progress
        self.seconds: dict[str, float] = {}
        self.name: str | None = None

    def enter(self, name: str) -> None:
        self._leave()
        self.name, self.began = name, time.perf_counter()
        if self.progress is not None:
            self.progress(name, STAGES.index(name) / len(STAGES))

    def finish(self) -> dict[str, float]:
        self._leave()
        return self.seconds

    def _leave(self) -> None:
        if self.name is not None:
            self.seconds[self.name] = round(time.perf_counter() - self.began, 3)
