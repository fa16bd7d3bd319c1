"""Images as the intensity models take them: real numbers, and where they count."""

from __future__ import annotations

import numpy as np

from gmmseg.checks import InputError
from gmmseg.spatial.levels import histogram_of

Histogram = np.ndarray | tuple[np.ndarray, np.ndarray]


def checked_image(
    image: np.ndarray, mask: np.ndarray | None, channels: bool
) -> tuple[np.ndarray, np.ndarray | None]:
    """An array of real numbers, and where it counts; None where that is everywhere."""
    image = np.asarray(image)
    if image.dtype.kind == "b":
        image = image.astype(np.uint8)
    if image.dtype.kind not in "iuf" or image.dtype == np.longdouble:
        raise InputError(f"The image must hold real numbers; its dtype is {image.dtype}.")
    if image.dtype == np.float16:
        image = image.astype(np.float32)
    image = image.astype(image.dtype.newbyteorder("="), copy=False)
    grid = image.shape[:-1] if channels else image.shape
    inside = None
    if mask is not None:
        inside = np.ascontiguousarray(mask, bool)
        if inside.shape != grid:
            raise InputError(f"The mask has shape {inside.shape} and the image {grid}.")
    if image.dtype.kind == "f":
        known = ~np.isnan(image).any(axis=-1) if channels else ~np.isnan(image)
        if not known.all():
            inside = known if inside is None else inside & known
        if np.isinf(image if inside is None else image[inside]).any():
            raise InputError("The image holds infinite values; set them to NaN to leave them out.")
    if not image.size or (inside is not None and not inside.any()):
        raise InputError("The image has no pixel to label: all are missing or outside the mask.")
    if inside is not None and inside.all():
        inside = None
    return image, inside


def histogram_from(
    image: np.ndarray | None, mask: np.ndarray | None, hist: Histogram | None, nbins: int
) -> tuple[np.ndarray, np.ndarray]:
    """Counts and centres of an image or of what the caller counted."""
    if (image is None) == (hist is None):
        raise InputError("give either an image or hist.")
    if hist is not None:
        if mask is not None:
            raise InputError("mask goes with an image, not with hist.")
        pair = isinstance(hist, tuple | list) and len(hist) == 2
        counts, centres = hist if pair else (hist, np.arange(len(hist)))
        return np.asarray(counts, np.float64).ravel(), np.asarray(centres, np.float64).ravel()
    values, inside = checked_image(np.asarray(image), mask, False)
    centres, counts = histogram_of(values, inside, nbins)
    return counts, centres


def whole_classes(classes: int) -> int:
    """Raise InputError unless it is a number of classes."""
    if isinstance(classes, bool) or not isinstance(classes, int | np.integer) or classes < 2:
        raise InputError(f"classes must be a whole number of 2 or more; got {classes!r}.")
    return int(classes)
