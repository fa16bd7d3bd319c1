"""One image from file to labels, whatever its axes: channels, slices, frames."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from gmmseg.checks import InputError
from gmmseg.intensities import IntensitySegmentation, one_class
from gmmseg.raster.image import Raster
from gmmseg.raster.read import read, read_mask
from gmmseg.settings import ThresholdSettings
from gmmseg.spatial.bands import ThresholdBand, threshold_band
from gmmseg.spatial.structure import has_structure
from gmmseg.workflows.threshold import segment_intensities

FRAMEWISE = ("illumination", "local", "superpixels")
"""Settings for which each frame of a time series is an image of its own."""
EMPTY = (
    "One class explains it as well as two, and nothing but noise is to be seen, so all is "
    "background; --always-cut cuts it all the same."
)
SEED = 0  # of the report: the same image gets the same band


@dataclass(frozen=True, slots=True)
class ThresholdOptions:
    """How an image is to be thresholded, beside the settings of the models."""

    settings: Mapping[str, Any] = field(default_factory=dict)  # of ThresholdSettings, by name
    channels: bool = False  # take channels as features, not their mean
    channel: int | None = None  # the only one to look at, from 0
    volume: int | None = None  # of a 4-D NIfTI image, from 0
    per_slice: bool = False  # each plane by itself
    always_cut: bool = False  # two classes even where one explains as much
    report: bool = False  # estimate the band of thresholds
    posteriors: bool = False  # also write the probabilities of the classes
    uncertainty: bool = False  # also write the entropy of the classes

    @property
    def checked(self) -> ThresholdSettings:
        """The settings, or InputError."""
        return ThresholdSettings(**{"classes": 2, **self.settings})

    @property
    def plain(self) -> bool:
        """Whether labels depend on thresholds alone."""
        s = self.checked
        features = tuple(s.features) != ("intensity",) or s.superpixels is not None
        return not (features or self.channels or s.local)


@dataclass(frozen=True, slots=True, eq=False)
class Part:
    """What was segmented at once: an image, a frame or a plane."""

    name: str  # "" for the whole image, else "t2", "z5" or "t2 z5"
    at: tuple[int, ...]  # index of it in the image
    image: np.ndarray  # intensities, grey
    result: IntensitySegmentation
    band: ThresholdBand | None = None
    n_pixels: int | None = None  # labelled, where the image is more than what is here


@dataclass(frozen=True, slots=True, eq=False)
class Thresholded:
    """Labels of an image and the parts they were made in."""

    raster: Raster
    parts: tuple[Part, ...]
    notes: tuple[str, ...] = ()

    def assembled(self, name: str) -> np.ndarray:
        """``labels``, ``posteriors`` or ``uncertainty`` of the whole image."""
        arrays = [getattr(part.result, name) for part in self.parts]
        if len(self.parts) == 1 and not self.parts[0].at:
            return np.asarray(arrays[0])
        lead = self.raster.grid[: len(self.parts[0].at)]
        if name == "posteriors":
            most = max(array.shape[-1] for array in arrays)
            arrays = [
                np.pad(array, [(0, 0)] * (array.ndim - 1) + [(0, most - array.shape[-1])])
                for array in arrays
            ]
        return np.stack(arrays).reshape(*lead, *arrays[0].shape)


def threshold_image(path: Path, mask: Path | None, options: ThresholdOptions) -> Thresholded:
    """Read an image and sort its pixels into classes.

    Parameters
    ----------
    path : Path
    mask : Path, optional
        Where to label; as :func:`gmmseg.raster.read.read_mask` reads it.
    options : ThresholdOptions

    Returns
    -------
    Thresholded

    Raises
    ------
    InputError
        If the image or the mask cannot be read, or does not go with the options.

    Notes
    -----
    A stack is one volume, with one mixture. The frames of a time series share a mixture too, and
    each is smoothed by itself; illumination, local and superpixel models are fitted to each frame
    alone. With ``per_slice`` each plane is an image of its own.
    """
    settings = options.checked
    raster = read(path, volume=options.volume)
    notes = list(raster.notes)
    image, axes, more = one_image(raster, options, path)
    notes += more
    inside = None if raster.mask is None else np.asarray(raster.mask)
    if mask is not None:
        given = read_mask(mask, raster)
        inside = given if inside is None else given & inside
    apart = options.per_slice or ("T" in axes and _framewise(options, settings))
    parts = tuple(
        _part(image[at], None if inside is None else inside[at], axes, at, raster, options)
        for at in _places(image.shape, axes, options.per_slice, apart)
    )
    return Thresholded(raster, parts, tuple(notes))


def one_image(raster: Raster, options: ThresholdOptions, path: Path) -> tuple[Any, str, list[str]]:
    """Intensities to segment and their axes; channels averaged, picked, or kept last."""
    data, axes = raster.data, raster.axes
    if not axes.endswith("C"):
        if options.channel not in (None, 0):
            raise InputError(f"The image {path} has one channel; leave out --channel.")
        return data, axes, []
    n = data.shape[-1]
    if options.channel is not None:
        if not 0 <= options.channel < n:
            raise InputError(
                f"The image {path} has the channels 0 to {n - 1}; there is no {options.channel}."
            )
        return data[..., options.channel], raster.site_axes, []
    if options.channels:
        return data, axes, []
    grey = data.mean(axis=-1, dtype=np.float64 if data.dtype.itemsize > 4 else np.float32)
    if isinstance(grey, np.ndarray) and np.ptp(grey) == 0 and np.ptp(data) > 0:
        raise InputError(
            f"The mean of the channels of the image {path} is the same everywhere; look at them "
            f"with --channels or --channel."
        )
    note = f"Its {n} channels were averaged to grey; --channels takes each for itself."
    return grey, raster.site_axes, [note]


def _framewise(options: ThresholdOptions, settings: ThresholdSettings) -> bool:
    chosen = settings.illumination != "off" or settings.local
    return chosen or not options.plain


def _places(
    shape: tuple[int, ...], axes: str, per_slice: bool, apart: bool
) -> list[tuple[int, ...]]:
    """Index of each part; one empty index for an image that is one."""
    if not apart:
        return [()]
    lead = "TZ" if per_slice else "T"
    sizes = [n for n, axis in zip(shape, axes, strict=True) if axis in lead]
    return list(np.ndindex(*sizes))


def _part(
    image: np.ndarray,
    inside: np.ndarray | None,
    axes: str,
    at: tuple[int, ...],
    raster: Raster,
    options: ThresholdOptions,
) -> Part:
    """Segment one part."""
    name = " ".join(f"{axis.lower()}{n}" for axis, n in zip(axes, at, strict=False))
    left = axes[len(at) :]
    space = [axis for axis in raster.axes if axis in "ZYX"]
    spacing = raster.spacing
    if spacing is not None:
        spacing = tuple(size for size, axis in zip(spacing, space, strict=True) if axis in left)
    settings = options.checked
    channels = left.endswith("C")
    given = {"classes": 2, **options.settings}
    try:
        result = _segmented(image, inside, channels, left.startswith("T"), spacing, given, options)
    except InputError as error:
        raise InputError(f"{name}: {error}" if name else str(error)) from error
    grey = image.mean(axis=-1, dtype=np.float32) if channels else image
    band = None
    if options.report and result.fit is not None and not result.one_class:
        band = threshold_band(
            even_image(grey, result), result.thresholds, np.random.default_rng(SEED),
            mask=result.mask, families=settings.families, linear=result.gain is not None,
        )  # fmt: skip
    return Part(name, at, grey, result, band)


def _segmented(
    image: np.ndarray,
    inside: np.ndarray | None,
    channels: bool,
    time: bool,
    spacing: Sequence[float] | None,
    given: dict[str, Any],
    options: ThresholdOptions,
) -> IntensitySegmentation:
    """The segmentation; an image of one class is not cut in half unless that was asked for."""
    settings = options.checked
    flat = None if channels else _only_value(image, inside)
    if flat is not None:
        if settings.classes not in (2, "auto") or options.always_cut:
            raise InputError(
                f"The image holds one value only, {flat:g}, which makes no {settings.classes} "
                f"classes."
            )
        empty = one_class(image, inside, settings)
        return replace(empty, warnings=(f"It holds one value only, {flat:g}: one class.",))
    result = segment_intensities(
        image, mask=inside, channels=channels, time=time, spacing=spacing, **given
    )
    if options.always_cut or not result.one_class or result.n_classes != 2 or settings.local:
        return result
    if has_structure(even_image(image, result), result.mask):
        return result  # objects whose intensities overlap with the background's
    empty = one_class(image, result.mask, settings)
    return replace(empty, fit=result.fit, warnings=(EMPTY,))


def _only_value(image: np.ndarray, inside: np.ndarray | None) -> float | None:
    """The value of an image that has but one; None for all others, and for bad ones."""
    known = image if inside is None else image[inside]
    if known.dtype.kind == "f" and np.isnan(known).any():
        known = known[~np.isnan(known)]
    if not known.size:
        return None
    low, high = float(known.min()), float(known.max())
    return low if low == high and math.isfinite(low) else None


def even_image(image: np.ndarray, result: IntensitySegmentation) -> np.ndarray:
    """Intensities as the thresholds mean them: under even light, where a gain was estimated."""
    if result.gain is None:
        return image
    known = image if result.mask is None else image[result.mask]
    floor = min(float(known.min()), 0.0)  # what the gain leaves in place
    return np.asarray((image - floor) * result.gain + floor)
