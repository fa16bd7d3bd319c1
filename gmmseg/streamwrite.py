"""Labels that are written while they are made: block by block to OME-Zarr, in order to TIFF."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tifffile

from gmmseg import rasterzarr
from gmmseg.raster import Raster
from gmmseg.rasterwrite import container, metadata_of, page_options

_THREADS = 8  # at most: more would hold more blocks, while the disk sets the pace
_PLANE = 2**26  # pixels up to which a plane of labels is written in one piece
_TILE = (512, 512)


def scheduler(client: Any) -> dict[str, Any]:
    """Arguments for ``compute``: the workers of a client, or a few threads."""
    if client is not None:
        return {"scheduler": client}
    return {"scheduler": "threads", "num_workers": min(_THREADS, os.cpu_count() or 1)}


def compute(lazy: Any, client: Any) -> Any:
    """Value of a dask array or delayed object."""
    return lazy.compute(**scheduler(client))


def store_zarr(labels: Any, path: Path, raster: Raster, client: Any) -> None:
    """Write a dask array of labels as OME-Zarr: level 0, then each level from the one before."""
    import dask.array as da

    levels = rasterzarr.create(path, labels.shape, raster, dtype=np.uint8)
    stored = rasterzarr.to_file_order(labels, raster)
    for level, target in enumerate(levels):
        if level:
            finer = levels[level - 1]
            blocks = tuple(4 * n for n in finer.chunks)
            step = rasterzarr.level_slices(raster, stored.ndim, 1)
            stored = da.from_array(finer, chunks=blocks)[step]
        aligned = _aligned(stored, target.chunks)
        da.store(aligned, target, lock=False, **scheduler(client))


def _aligned(array: Any, chunks: Sequence[int]) -> Any:
    """Blocks that hold whole chunks of a file, so that no two write to one."""
    if all(n % c == 0 for ns, c in zip(array.chunks, chunks, strict=True) for n in ns[:-1]):
        return array
    return array.rechunk(
        tuple(-(-max(ns) // c) * c for ns, c in zip(array.chunks, chunks, strict=True))
    )


def store_tiff(labels: Any, path: Path, raster: Raster, top: int, client: Any) -> None:
    """Write a dask array of labels up to ``top`` as TIFF, a band of rows at a time."""
    form = raster.source
    stored = labels.transpose([raster.site_axes.index(axis) for axis in form.axes])
    options = page_options(form, np.dtype(np.uint8))
    height, width = stored.shape[-2:]
    large = height * width > _PLANE
    if large:
        options.setdefault("tile", _TILE)
    # Whole rows at a time; several planes only where each is in one block.
    blocks: dict[int, Any] = {stored.ndim - 1: -1}
    if large or len(stored.chunks[-2]) > 1:
        blocks |= dict.fromkeys(range(stored.ndim - 2), 1)
    stored = stored.rechunk(blocks)
    pieces = _pieces(stored, client)
    planes: Iterator[np.ndarray]
    planes = _tiles(pieces, height, options["tile"]) if large else _whole(pieces, height)
    if "tile" in options and not large:
        planes = _tiles(planes, height, options["tile"])
    size = int(np.prod(stored.shape, dtype=np.int64))
    box = container(form, size) | ({"imagej": False} if large else {})
    with tifffile.TiffWriter(path, **box) as tif:
        if form.flavour == "plain" and len(form.pages) > 1:
            per_page = -(-height // options["tile"][0]) * -(-width // options["tile"][1]) \
                if "tile" in options else 1  # fmt: skip
            for page in form.pages:
                some = (next(planes) for _ in range(per_page))
                tif.write(some, shape=(height, width), dtype=np.uint8, **options, **page,
                          metadata=None)  # fmt: skip
        else:
            metadata = metadata_of(form, form.axes, top)
            tif.write(planes, shape=stored.shape, dtype=np.uint8, **options, **form.pages[0],
                      metadata=metadata)  # fmt: skip


def _pieces(stored: Any, client: Any) -> Iterator[np.ndarray]:
    """Bands of rows, plane after plane."""
    for index in np.ndindex(*stored.numblocks[:-1]):
        block = compute(stored.blocks[(*index, 0)], client)
        yield from block.reshape(-1, *block.shape[-2:])


def _whole(pieces: Iterator[np.ndarray], height: int) -> Iterator[np.ndarray]:
    """Planes put together from their bands."""
    return _rows(pieces, height, height)


def _rows(pieces: Iterator[np.ndarray], height: int, step: int) -> Iterator[np.ndarray]:
    """Bands of ``step`` rows each, and what is left at the foot of each plane."""
    waiting: list[np.ndarray] = []
    done = 0  # rows of this plane that were passed on
    for piece in pieces:
        waiting.append(piece)
        held = sum(map(len, waiting))
        while held >= step or (held and done + held == height):
            band = np.concatenate(waiting) if len(waiting) > 1 else waiting[0]
            yield band[:step]
            taken = min(step, held)
            waiting, held = [band[step:]], held - taken
            done = (done + taken) % height
    return


def _tiles(
    pieces: Iterator[np.ndarray], height: int, tile: tuple[int, int]
) -> Iterator[np.ndarray]:
    for band in _rows(pieces, height, tile[0]):
        for left in range(0, band.shape[1], tile[1]):
            yield band[:, left : left + tile[1]]
