"""Thresholds for images larger than memory, in two passes: count intensities, write labels.

A pass holds a few blocks at a time, on threads or on the workers of a distributed client, and
its result is that of the whole image in memory, to the last bit.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from gmmseg.checks import InputError
from gmmseg.mixture import kernels
from gmmseg.raster.image import Raster
from gmmseg.raster.lazy import open_lazy
from gmmseg.raster.streamwrite import scheduler, store_tiff, store_zarr
from gmmseg.raster.write import appearing

__all__ = ["apply_lazy", "apply_thresholds", "histogram_lazy", "open_lazy", "store_labels"]

_MOST_LEVELS = 2**16


@dataclass(frozen=True, slots=True)
class _Range:
    """What the first pass learns of a block, or of several."""

    low: float
    high: float
    whole: bool  # every value is a whole number
    n: int  # values that are not NaN

    def __add__(self, other: _Range) -> _Range:
        return _Range(
            min(self.low, other.low),
            max(self.high, other.high),
            self.whole and other.whole,
            self.n + other.n,
        )


@dataclass(frozen=True, slots=True, eq=False)
class _Levels:
    """Counts of whole numbers from ``base`` on, no longer than the block's range."""

    base: int
    counts: np.ndarray

    def __add__(self, other: _Levels) -> _Levels:
        if not len(self.counts) or not len(other.counts):
            return other if not len(self.counts) else self
        base = min(self.base, other.base)
        end = max(self.base + len(self.counts), other.base + len(other.counts))
        total = np.zeros(end - base, dtype=np.int64)
        for part in (self, other):
            total[part.base - base : part.base - base + len(part.counts)] += part.counts
        return _Levels(base, total)


def histogram_lazy(
    array: Any, mask: Any = None, *, n_bins: int = 256, client: Any = None
) -> tuple[np.ndarray, np.ndarray]:
    """Count the intensities of an image block by block.

    Parameters
    ----------
    array : dask array of any shape, one channel
        NaN is left out.
    mask : dask array or ndarray of bool, of the same shape, optional
        Where to count.
    n_bins : int
        For real numbers: equal bins from the smallest to the largest value, which takes a pass
        of its own. Whole numbers that span no more than 65,536 levels are counted exactly.
    client : distributed.Client, optional
        Where to work; threads of this process by default.

    Returns
    -------
    centres : (B, 1) ndarray
    counts : (B,) float64 ndarray
        Equal to :func:`gmmseg.mixture.histogram.weighted_bins` of all values in memory.

    Raises
    ------
    InputError
        If no value is left, or one is infinite.
    """
    if array.dtype.kind not in "iuf":
        raise InputError(f"the image must hold numbers; got dtype {array.dtype}.")
    arrays = [array] if mask is None else [array, _beside(mask, array)]
    if array.dtype.kind in "iu" and array.dtype.itemsize <= 2:
        levels: _Levels = _sum_over_blocks(_count_levels, arrays, client)
        return _as_bins(levels)
    limits: _Range = _sum_over_blocks(_limits, arrays, client)
    if not limits.n:
        raise InputError("the image holds no values; all are missing or outside the mask.")
    if not np.isfinite(limits.high - limits.low):
        raise InputError("the image holds infinite values; set them to NaN to leave them out.")
    if limits.whole and limits.high - limits.low < _MOST_LEVELS:
        return _as_bins(_sum_over_blocks(_count_levels, arrays, client))
    if limits.low == limits.high:
        return np.array([[limits.low]]), np.array([float(limits.n)])
    count = partial(_count_bins, low=limits.low, high=limits.high, n_bins=n_bins)
    counts = _sum_over_blocks(count, arrays, client)
    edges = np.linspace(limits.low, limits.high, n_bins + 1)
    used = np.flatnonzero(counts)
    centres = 0.5 * (edges[:-1] + edges[1:])
    return centres[used, None], counts[used].astype(np.float64)


def apply_thresholds(
    image: np.ndarray,
    thresholds: Sequence[float] | np.ndarray,
    mask: np.ndarray | None = None,
    *,
    values: Sequence[int] | np.ndarray | None = None,
) -> np.ndarray:
    """Label each pixel by the number of thresholds that it exceeds.

    Parameters
    ----------
    image : ndarray of numbers
    thresholds : (K - 1,) array-like, rising, in image units
    mask : ndarray of bool, optional
        Pixels outside become 0, as do those that are NaN.
    values : (K,) array-like of uint8, optional
        Labels of the classes from dark to bright; 0, 1, ... by default.

    Returns
    -------
    ndarray of uint8

    Examples
    --------
    >>> apply_thresholds(np.array([1, 2, 3, 9]), [2.0, 5.0])
    array([0, 0, 1, 2], dtype=uint8)
    """
    cuts, names = _checked(thresholds, values)
    if image.dtype.kind == "u" and image.dtype.itemsize <= 2:
        top = np.iinfo(image.dtype).max
        table = names[np.searchsorted(cuts, np.arange(top + 1, dtype=np.float64))]
        labels = table[image]
    else:
        number = np.zeros(image.shape, dtype=np.uint8)
        for cut in cuts:  # a float64, so that a float32 pixel is not compared with a rounded one
            number += image > cut
        labels = names[number]
        if image.dtype.kind == "f":
            labels[np.isnan(image)] = 0
    if mask is not None:
        labels[~mask] = 0
    return labels


def apply_lazy(
    array: Any,
    thresholds: Sequence[float] | np.ndarray,
    path: str | os.PathLike[str],
    raster: Raster,
    mask: Any = None,
    *,
    values: Sequence[int] | np.ndarray | None = None,
    client: Any = None,
) -> Path:
    """Write the labels of an image block by block.

    Parameters
    ----------
    array : dask array of shape ``raster.grid``
        Intensities.
    thresholds : (K - 1,) array-like, rising, in image units
    path : path
        Replaced if it exists, once all is written.
    raster : Raster
        The image as :func:`open_lazy` gives it, of which the labels take axes and metadata.
    mask : dask array or ndarray of bool, of the same shape, optional
    values : (K,) array-like of uint8, optional
        As in :func:`apply_thresholds`, whose labels these are.
    client : distributed.Client, optional
        Where to work; threads of this process by default. Its workers must see the files.

    Returns
    -------
    Path
        An OME-Zarr with the levels of the image, or a TIFF with its pages, in tiles where a page
        is large, and with 64-bit offsets where it needs them.
    """
    cuts, names = _checked(thresholds, values)
    if tuple(array.shape) != raster.grid:
        raise InputError(f"the image has shape {raster.grid} and the array {array.shape}.")
    arrays = [array] if mask is None else [array, _beside(mask, array)]
    import dask.array as da

    labels = da.map_blocks(
        apply_thresholds, arrays[0], cuts, *arrays[1:], values=names, dtype=np.uint8,
        meta=np.empty((0,) * array.ndim, dtype=np.uint8),
    )  # fmt: skip
    return store_labels(labels, path, raster, top=int(names.max()), client=client, array=array)


def store_labels(
    labels: Any,
    path: str | os.PathLike[str],
    raster: Raster,
    *,
    top: int,
    client: Any = None,
    array: Any = None,
) -> Path:
    """Write labels block by block as the kind of file that the image is.

    Parameters
    ----------
    labels : dask array of uint8, of shape ``raster.grid``
    path : path
        Replaced if it exists, once all is written.
    raster : Raster
        The image as :func:`open_lazy` gives it.
    top : int
        The highest label.
    client : distributed.Client, optional
    array : dask array, optional
        The image, by whose blocks the work is cut; ``labels`` by default.

    Returns
    -------
    Path

    Raises
    ------
    InputError
        If labels of that kind cannot be written in parts.
    """
    path, array = Path(path), labels if array is None else array
    with appearing(path) as temporary:
        if raster.kind == "ome-zarr":
            store_zarr(labels, temporary, raster, client, array)
        elif raster.kind in ("tiff", "ome-tiff"):
            store_tiff(labels, temporary, raster, top, client, array)
        else:
            raise InputError(f"labels of a {raster.kind} image cannot be written in parts.")
    return path


def _checked(
    thresholds: Sequence[float] | np.ndarray, values: Sequence[int] | np.ndarray | None
) -> tuple[np.ndarray, np.ndarray]:
    cuts = np.asarray(thresholds, dtype=np.float64).ravel()
    if not np.isfinite(cuts).all() or (np.diff(cuts) < 0).any() or len(cuts) > 254:
        raise InputError(f"thresholds must be finite, rising and at most 254; got {cuts.tolist()}.")
    names = np.arange(len(cuts) + 1) if values is None else np.asarray(values)
    if names.shape != (len(cuts) + 1,) or names.min() < 0 or names.max() > 255:
        raise InputError(
            f"{len(cuts)} thresholds need {len(cuts) + 1} labels from 0 to 255; "
            f"got {names.tolist()}."
        )
    return cuts, names.astype(np.uint8)


def _beside(mask: Any, array: Any) -> Any:
    """A mask cut into the blocks of an image."""
    import dask.array as da

    if tuple(mask.shape) != tuple(array.shape):
        raise InputError(f"the mask has shape {mask.shape} and the image {array.shape}.")
    mask = mask if isinstance(mask, da.Array) else da.from_array(np.asarray(mask) != 0)
    return mask.astype(bool).rechunk(array.chunks)


def _inside(block: np.ndarray, mask: np.ndarray | None) -> np.ndarray:
    return block.ravel() if mask is None else block[mask]


def _limits(block: np.ndarray, mask: np.ndarray | None = None) -> _Range:
    x = _inside(block, mask)
    if x.dtype.kind == "f" and np.isnan(x).any():
        x = x[~np.isnan(x)]
    if not x.size:
        return _Range(np.inf, -np.inf, True, 0)
    low, high = x.min().item(), x.max().item()
    finite = x.dtype.kind in "iu" or bool(np.isfinite(high - low))
    whole = x.dtype.kind in "iu" or (finite and bool(kernels.all_whole(x)))
    return _Range(low, high, whole, x.size)


def _count_levels(block: np.ndarray, mask: np.ndarray | None = None) -> _Levels:
    x = _inside(block, mask)
    if x.dtype.kind == "f":
        x = x[~np.isnan(x)]
    if not x.size:
        return _Levels(0, np.zeros(0, dtype=np.int64))
    base, top = int(x.min()), int(x.max())
    return _Levels(base, kernels.count_levels(x, base, top - base + 1))


def _count_bins(
    block: np.ndarray,
    mask: np.ndarray | None = None,
    *,
    low: float,
    high: float,
    n_bins: int,
) -> np.ndarray:
    return kernels.count_bins(_inside(block, mask), low, n_bins / (high - low), n_bins)


def _as_bins(levels: _Levels) -> tuple[np.ndarray, np.ndarray]:
    used = np.flatnonzero(levels.counts)
    if not used.size:
        raise InputError("the image holds no values; all are missing or outside the mask.")
    return (used + levels.base)[:, None], levels.counts[used].astype(np.float64)


def _sum_over_blocks(task: Callable[..., Any], arrays: Sequence[Any], client: Any) -> Any:
    """Sum of what a task makes of each block, in a tree: few parts wait at any time."""
    from dask.delayed import delayed

    blocks = zip(*(array.to_delayed().ravel() for array in arrays), strict=True)
    parts = [delayed(task)(*block) for block in blocks]
    while len(parts) > 1:
        parts = [delayed(_sum)(parts[i : i + 8]) for i in range(0, len(parts), 8)]
    return parts[0].compute(**scheduler(client, arrays[0]))


def _sum(parts: Sequence[Any]) -> Any:
    total = parts[0]
    for part in parts[1:]:
        total = total + part
    return total
