"""Masks: which voxels of a scan are looked at, from a file or an array of any kind."""

from __future__ import annotations

from typing import Any

import numpy as np

from gmmseg import imagefile
from gmmseg.checks import InputError
from gmmseg.volume import Volume, check_same_grid

ROUNDING = 1e-3  # of whole numbers that were stored as floats


def read_mask(source: Any, like: Volume) -> np.ndarray:
    """Read a brain mask on the grid of a scan.

    Parameters
    ----------
    source : path, nibabel image or (X, Y, Z) array
        Voxels above 0 are inside; where there are fractions, those of at least half of 1, 100 or
        255, whichever the mask runs to. NaN is outside.
    like : Volume
        The scan whose grid the mask must have.

    Returns
    -------
    (X, Y, Z) ndarray of bool

    Raises
    ------
    InputError
        If the mask cannot be read, is not 3-D, lies on another grid, is empty or infinite, or has
        fractions of something else.
    """
    if isinstance(source, np.ndarray):
        label = "The mask"
        data = np.squeeze(source) if source.ndim > 3 else source
        if data.shape != like.shape:
            raise InputError(
                f"{label} has shape {source.shape} and the image {like.shape}; they must agree."
            )
    else:
        remedy = "a mask must be 3-D: save one of them as an image of its own."
        data, affine, _, _, label = imagefile.load(source, name="mask", remedy=remedy)
        check_same_grid(like, Volume(data, affine), name=label)
    return inside(data, label)


def inside(data: np.ndarray, label: str) -> np.ndarray:
    """Which voxels of a mask are inside, as :func:`read_mask` has it.

    Parameters
    ----------
    data : ndarray of numbers
    label : str, what to call the mask in messages

    Raises
    ------
    InputError
        If there is none, or something else than a mask.
    """
    if data.dtype.kind not in "buif":
        raise InputError(f"{label} holds {data.dtype}, not numbers; it must be 0 or 1.")
    if np.isinf(data).any():
        raise InputError(f"{label} holds infinite voxels; it must be 0 or 1.")
    if data.dtype.kind == "f":
        data = np.nan_to_num(data, nan=0.0)  # SPM writes what is outside of the brain as NaN
    if data.dtype.kind == "f" and np.abs(data - np.rint(data)).max(initial=0) > ROUNDING:
        half = _half(float(data.max()), label)
        found, wanted = data >= half, f"reaches {half:g}"
    else:
        found, wanted = data > ROUNDING, "is above 0"
    if not found.any():
        raise InputError(f"{label} is empty: no voxel {wanted}.")
    return np.asarray(found)


def _half(largest: float, label: str) -> float:
    """Half of what the fractions of a mask run to; splines overshoot by up to .8 of it."""
    for scale in (1.0, 100.0, 255.0):
        if largest <= 1.8 * scale and (scale == 1.0 or largest >= 0.8 * scale):
            return scale / 2
    raise InputError(
        f"{label} has fractions and runs to {largest:.4g}; a mask is 0 and 1, or runs to 1, 100 "
        f"or 255. If it was made from labels, interpolate it with nearest neighbours."
    )
