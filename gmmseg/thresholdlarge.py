"""Images larger than memory: thresholds in two passes over the file, smoothed if asked for."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from gmmseg.checks import InputError
from gmmseg.intensities import IntensitySegmentation, labelled, one_class
from gmmseg.mixture.ordered import OrderedClasses, ordered_classes
from gmmseg.raster.halo import smooth_lazy
from gmmseg.raster.image import Raster
from gmmseg.raster.read import kind_of, read_mask
from gmmseg.raster.stream import (
    apply_lazy,
    apply_thresholds,
    histogram_lazy,
    open_lazy,
    store_labels,
)
from gmmseg.settings import N_SWEEPS, ThresholdSettings
from gmmseg.spatial.levels import FLOAT_LEVELS, MOST_LEVELS, Grid
from gmmseg.spatial.shares import unary
from gmmseg.spatial.structure import has_structure
from gmmseg.thresholdimage import EMPTY, Part, ThresholdOptions, one_image

SHARE = 0.5  # of the memory of the machine, that segmenting in memory may take
_SHOWN = 1500  # pixels along the longest side that a picture needs
_LOOK = 1024  # pixels each way from the middle, where objects are looked for
_SMALL = 2**26  # bytes of a file whose size need not be looked up
_DEFAULT_MEMORY = 8 * 2**30  # where the system does not say


def is_large(path: Path, options: ThresholdOptions) -> bool:
    """Whether segmenting in memory would take more than ``SHARE`` of it.

    Only for images and options that can be streamed; all others are read whole in any case.
    """
    if unfit(options) or not _can_stream(path) or (path.is_file() and _bytes(path) < _SMALL):
        return False
    try:
        raster = open_lazy(path)
    except InputError:
        return False  # which reading it will say, or do
    classes = options.checked.classes
    # The image and its levels; labels; posteriors twice, and their entropy.
    each = raster.data.dtype.itemsize + 8 + 8 * (6 if classes == "auto" else int(classes))
    return bool(np.prod(raster.grid, dtype=float) * each > SHARE * _memory())


def unfit(options: ThresholdOptions) -> str:
    """The first option that cannot be streamed, as it is typed; nothing if all can."""
    s = options.checked
    found = {
        "--families": s.smooth > 0 and s.families is not None,
        "--edges": s.smooth > 0 and s.edges,
        "--neighbours 8": s.smooth > 0 and s.neighbours == 8,
        "--neighbours 26": s.smooth > 0 and s.neighbours == 26,
        "--illumination auto": s.illumination != "off",
        "--local": s.local,
        "--features": tuple(s.features) != ("intensity",),
        "--superpixels": s.superpixels is not None,
        "--channels": options.channels,
        "--per-slice": options.per_slice,
        "--report": options.report,
        "--posteriors": options.posteriors,
        "--uncertainty": options.uncertainty,
    }
    return next((name for name, given in found.items() if given), "")


def threshold_large(
    path: Path, mask: Path | None, options: ThresholdOptions, target: Path
) -> tuple[Raster, Part, tuple[str, ...]]:
    """Threshold an image in parts, and write its labels.

    Parameters
    ----------
    path : Path
        TIFF or OME-Zarr.
    mask : Path, optional
    options : ThresholdOptions
    target : Path
        Labels; equal to those of the image in memory.

    Returns
    -------
    raster : Raster, with a dask array for data
    part : Part
        A plane from the middle, thinned out to what a picture shows; its ``fractions`` and means
        are those of all pixels.
    notes : tuple of str

    Raises
    ------
    InputError
        If the file or an option cannot be streamed.
    """
    name = unfit(options)
    if name:
        raise InputError(
            f"The image {path} is thresholded in parts, where {name} cannot be used; leave it out, "
            f"or say --no-large and have the memory."
        )
    raster = open_lazy(path)
    image, _, notes = one_image(raster, options, path)
    inside = raster.mask
    if mask is not None:
        given = read_mask(mask, raster)
        inside = given if inside is None else given & inside
    settings = options.checked
    centres, counts = histogram_lazy(image, inside, n_bins=FLOAT_LEVELS)
    centres = centres[:, 0]
    fit, flat, soft = None, len(counts) < 2, settings.classes in (2, "auto")
    if flat and (options.always_cut or not soft):
        raise InputError(
            f"The image holds one value only, {centres[0]:g}, which makes no {settings.classes} "
            f"classes."
        )
    if not flat:
        fit = ordered_classes(counts, centres, settings.classes, families=settings.families)
        auto = settings.classes == "auto"
        flat = (
            fit.one_class
            and soft
            and (auto or not (options.always_cut or _has_structure(image, inside)))
        )
    cuts = np.empty(0) if flat or fit is None else fit.thresholds
    k = len(cuts) + 1
    names = np.arange(k) if k <= 2 else np.arange(1, k + 1)
    if settings.dark and k == 2:
        names = names[::-1]
    if settings.smooth > 0 and fit is not None and k > 1:
        labels = _smoothed(image, inside, raster, fit, settings, centres, names)
        store_labels(labels, target, raster, top=int(names.max()), array=image)
    else:
        apply_lazy(image, cuts, target, raster, inside, values=names)

    plane, shown = _plane(image), None if inside is None else _plane(inside)
    if plane.dtype.kind == "f":
        shown = ~np.isnan(plane) & (True if shown is None else shown)
    if shown is not None and not shown.any():
        plane, shown = np.zeros_like(plane), None
    if fit is None or flat:
        result = replace(one_class(plane, shown, settings), fit=fit, warnings=(EMPTY,))
    else:
        found = apply_thresholds(plane, cuts)
        found = np.uint8(k - 1) - found if settings.dark and k == 2 else found
        result = labelled(
            plane, shown, found, np.eye(k, dtype=np.float32)[found], settings, fit,
            decisions={"classes": k, "illumination": False, "scale": fit.scale_name},
            field=np.empty(0),
        )  # fmt: skip
    result = _of_all(result, centres, counts, cuts, dark=settings.dark and k == 2)
    return raster, Part("", (), plane, result, n_pixels=int(counts.sum())), (*raster.notes, *notes)


def _smoothed(
    image: Any,
    inside: Any,
    raster: Raster,
    fit: OrderedClasses,
    settings: ThresholdSettings,
    centres: np.ndarray,
    names: np.ndarray,
) -> Any:
    """Labels of the Potts field, as a dask array; those of the image in memory."""
    low, high = float(centres[0]), float(centres[-1])
    whole = bool((centres == np.rint(centres)).all()) and high - low < MOST_LEVELS
    rim = 0.0 if whole else 0.5 * (high - low) / (FLOAT_LEVELS - 1)  # centres to ends of bins
    grid = Grid.between(low - rim, high + rim, whole=whole)
    posteriors = fit.fit.posteriors(grid.centres)
    axes = raster.site_axes
    table = unary(
        posteriors.astype(np.float32), fit.weights, settings.smooth, len(axes.replace("T", ""))
    )
    return smooth_lazy(
        image, grid, table, settings.smooth, n_sweeps=N_SWEEPS, axes=axes,
        spacing=raster.spacing, neighbours=settings.neighbours, mask=inside, values=names,
    )  # fmt: skip


def _of_all(
    result: IntensitySegmentation, centres: np.ndarray, counts: np.ndarray, cuts: np.ndarray, *,
    dark: bool,
) -> IntensitySegmentation:  # fmt: skip
    """Shares and means of the whole image, from its histogram."""
    k = len(cuts) + 1
    of = np.searchsorted(cuts, centres, "left")
    of = k - 1 - of if dark else of
    sizes = np.bincount(of, counts, k)
    with np.errstate(invalid="ignore"):
        means = np.bincount(of, counts * centres, k) / sizes
    empty = [name for name, size in zip(result.names, sizes, strict=True) if not size]
    warnings = [text for text in result.warnings if not text.startswith("No pixel")]
    if empty:
        warnings.append(f"No pixel was labelled {', '.join(empty)}.")
    return replace(
        result, fractions=sizes / sizes.sum(), class_means=means, warnings=tuple(warnings)
    )


def _plane(array: Any) -> np.ndarray:
    """The plane in the middle, every so many pixels, in memory."""
    middle = tuple(n // 2 for n in array.shape[:-2])
    step = max(1, -(-max(array.shape[-2:]) // _SHOWN))
    part = array[middle][::step, ::step]
    return np.ascontiguousarray(part.compute() if hasattr(part, "compute") else part)


def _has_structure(image: Any, inside: Any) -> bool:
    """Whether the middle of the plane in the middle shows anything but noise."""
    place = tuple(n // 2 for n in image.shape[:-2]) + tuple(
        slice(max(0, n // 2 - _LOOK), n // 2 + _LOOK) for n in image.shape[-2:]
    )
    plane = np.asarray(image[place])
    shown = None if inside is None else np.asarray(inside[place])
    if plane.dtype.kind == "f":
        shown = ~np.isnan(plane) & (True if shown is None else shown)
    return has_structure(plane, shown)


def _can_stream(path: Path) -> bool:
    try:
        return kind_of(path, "The image") in ("tiff", "zarr")
    except InputError:
        return False


def _bytes(path: Path) -> int:
    return path.stat().st_size


def _memory() -> int:
    """Bytes of memory of this machine."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):  # Windows
        return _DEFAULT_MEMORY
