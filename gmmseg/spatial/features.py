"""Features of each pixel beside its intensity, and superpixels that stand for many pixels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from gmmseg.checks import InputError

FEATURES = ("intensity", "gradient", "texture", "position")
GRADIENT_SIGMA, TEXTURE_SIGMA = 1.0, 2.0  # pixels
COMPACTNESS = 0.3  # of superpixels, on channels of unit variance


@dataclass(frozen=True, slots=True, eq=False)
class FeatureStack:
    """Features of the sites of an image.

    Attributes
    ----------
    values : (..., C) float32 ndarray on the grid of the image
    names : tuple of C str
        ``channel 1`` and so on, or ``intensity`` for one channel; then the others.
    """

    values: np.ndarray
    names: tuple[str, ...]


def feature_stack(
    image: np.ndarray, features: Sequence[str] = ("intensity",), *, channels: bool = False
) -> FeatureStack:
    """Features of each pixel, side by side.

    Parameters
    ----------
    image : (Y, X), (Z, Y, X) or, with ``channels``, (..., C) ndarray
    features : sequence of str
        ``intensity``: the channels themselves; ``gradient``: magnitude of the intensity's
        gradient at a scale of 1 pixel, image units per pixel; ``texture``: standard deviation
        within 2 pixels, image units; ``position``: row, column (and slice first), from 0 to 1.
        Gradient and texture are those of the mean of all channels.
    channels : bool
        Whether the last axis of ``image`` is one of channels.

    Returns
    -------
    FeatureStack

    Raises
    ------
    InputError
        If a feature is unknown, or none is given.

    Examples
    --------
    >>> feature_stack(np.eye(4), ("intensity", "position")).names
    ('intensity', 'row', 'column')
    """
    unknown = [name for name in features if name not in FEATURES]
    if unknown or not features:
        what = f"the feature {unknown[0]!r} is unknown" if unknown else "no feature was given"
        raise InputError(f"features: {what}; there are {', '.join(FEATURES)}.")
    image = np.asarray(image, np.float32)
    grey = image.mean(axis=-1) if channels else image
    unit = np.float32(np.abs(grey).max(initial=0)) or np.float32(1)  # squares must not overflow
    columns: list[np.ndarray] = []
    names: list[str] = []
    for feature in dict.fromkeys(features):
        if feature == "intensity" and channels:
            columns += [image[..., c] for c in range(image.shape[-1])]
            names += [f"channel {c + 1}" for c in range(image.shape[-1])]
        elif feature == "intensity":
            columns, names = [*columns, image], [*names, "intensity"]
        elif feature == "gradient":
            columns.append(unit * ndimage.gaussian_gradient_magnitude(grey / unit, GRADIENT_SIGMA))
            names.append("gradient")
        elif feature == "texture":
            columns.append(unit * _texture(grey / unit))
            names.append("texture")
        else:
            columns += _positions(grey.shape)
            names += ["slice", "row", "column"][-grey.ndim :]
    return FeatureStack(np.stack(columns, axis=-1).astype(np.float32, copy=False), tuple(names))


def superpixels(
    values: np.ndarray, n_segments: int, mask: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Patches of like pixels, as sites in place of pixels.

    Parameters
    ----------
    values : (..., C) float32 ndarray on the grid of the image
    n_segments : int
        About how many patches.
    mask : bool ndarray of the grid, optional
        Pixels that take part.

    Returns
    -------
    site : int32 ndarray of the grid
        Patch of each pixel, from 0; -1 outside of the mask.
    means : (S, C) float32 ndarray
    sizes : (S,) float64 ndarray, pixels

    References
    ----------
    Achanta et al. (2012), doi 10.1109/TPAMI.2012.120, as scikit-image has it.
    """
    from skimage.segmentation import slic

    grid = values.shape[:-1]
    known = values if mask is None else values[mask]
    spread = known.reshape(-1, values.shape[-1]).std(axis=0, dtype=np.float64)
    scaled = values / np.where(spread > 0, spread, 1.0).astype(np.float32)
    site = slic(
        scaled, n_segments=n_segments, compactness=COMPACTNESS, channel_axis=-1,
        start_label=1, mask=mask, enforce_connectivity=mask is None,
    )  # fmt: skip
    inside = site > 0
    used, compact = np.unique(site[inside], return_inverse=True)
    out = np.full(grid, -1, np.int32)
    out[inside] = compact
    sizes = np.bincount(compact, minlength=len(used)).astype(np.float64)
    means = [np.bincount(compact, values[inside, c]) / sizes for c in range(values.shape[-1])]
    return out, np.stack(means, axis=1).astype(np.float32), sizes


def _texture(grey: np.ndarray) -> np.ndarray:
    middle = grey - np.float32(grey.mean(dtype=np.float64))  # or squares would cancel
    mean = ndimage.gaussian_filter(middle, TEXTURE_SIGMA)
    square = ndimage.gaussian_filter(middle * middle, TEXTURE_SIGMA)
    return np.sqrt(np.maximum(square - mean * mean, 0))


def _positions(shape: tuple[int, ...]) -> list[np.ndarray]:
    axes = [np.arange(n, dtype=np.float32) / max(n - 1, 1) for n in shape]
    return list(np.meshgrid(*axes, indexing="ij"))
