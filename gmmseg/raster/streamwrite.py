"""Labels that are written while they are made: block by block to OME-Zarr, in order to TIFF."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from gmmseg.raster import omezarr
from gmmseg.raster.image import Raster
from gmmseg.raster.tiffwrite import write_pages

_THREADS = 8  # at most: the disk sets the pace
_MEMORY = 2**29  # bytes for blocks at work


def scheduler(client: Any, array: Any) -> dict[str, Any]:
    """Arguments for ``compute``: the workers of a client, or as many threads as memory has room.

    ``array`` is the dask array whose blocks are worked on.
    """
    return {"scheduler": client} if client is not None else {
        "scheduler": "threads", "num_workers": at_work(array)
    }  # fmt: skip


def at_work(array: Any) -> int:
    """How many blocks of a dask array may be held at a time."""
    # A block as it is stored, decoded and in the order of the engine, and its labels.
    held = 3 * int(np.prod(array.chunksize)) * (array.dtype.itemsize + 1)
    return max(1, min(_THREADS, os.cpu_count() or 1, _MEMORY // max(held, 1)))


def store_zarr(labels: Any, path: Path, raster: Raster, client: Any, array: Any) -> None:
    """Write a dask array of labels as OME-Zarr: level 0, then each level from the one before."""
    import dask.array as da

    levels = omezarr.create(path, labels.shape, raster, dtype=np.uint8)
    stored = omezarr.to_file_order(labels, raster)
    for level, target in enumerate(levels):
        if level:
            finer = levels[level - 1]
            blocks = tuple(4 * n for n in finer.chunks)
            step = omezarr.level_slices(raster, stored.ndim, 1)
            stored = da.from_array(finer, chunks=blocks)[step]
        aligned = _aligned(stored, target.chunks)
        da.store(aligned, target, lock=False, **scheduler(client, stored if level else array))


def _aligned(array: Any, chunks: Sequence[int]) -> Any:
    """Blocks that hold whole chunks of a file, so that no two write to one."""
    if all(n % c == 0 for ns, c in zip(array.chunks, chunks, strict=True) for n in ns[:-1]):
        return array
    return array.rechunk(
        tuple(-(-max(ns) // c) * c for ns, c in zip(array.chunks, chunks, strict=True))
    )


def store_tiff(labels: Any, path: Path, raster: Raster, top: int, client: Any, array: Any) -> None:
    """Write a dask array of labels up to ``top`` as TIFF, a band of rows at a time.

    ``array`` is the image that they are made from.
    """
    form = raster.source
    stored = labels.transpose([raster.site_axes.index(axis) for axis in form.axes])
    # Whole rows at a time; several planes only where each is in one block.
    blocks: dict[int, Any] = {stored.ndim - 1: -1}
    if len(stored.chunks[-2]) > 1:
        blocks |= dict.fromkeys(range(stored.ndim - 2), 1)
    bands = _bands(stored.rechunk(blocks), client, array)
    write_pages(path, bands, stored.shape, stored.dtype, form, form.axes, top)


def _bands(stored: Any, client: Any, array: Any) -> Iterator[np.ndarray]:
    """Bands of rows, plane after plane."""
    import dask.base

    n_blocks = _THREADS if client is not None else at_work(array)
    indices = np.ndindex(*stored.numblocks[:-1])
    while some := list(islice(indices, n_blocks)):
        blocks = [stored.blocks[(*index, 0)] for index in some]
        for block in dask.base.compute(*blocks, **scheduler(client, array)):
            yield from block.reshape(-1, *block.shape[-2:])
