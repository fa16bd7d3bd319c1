"""TIFF files with one sample a pixel, made like another file from bands of rows.

Strips and tiles are compressed here, by ISA-L: zlib takes ten times as long for labels, which
would make writing the longest part of thresholding a large image.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from isal import isal_zlib

from gmmseg.raster.tiffheader import Layout

_BIG = 2**32 - 2**25  # bytes from which a TIFF needs 64-bit offsets, as tifffile counts
_STRIP = 2**18  # bytes of a strip before compression, as tifffile has them


def write_pages(
    path: Path,
    bands: Iterable[np.ndarray],
    shape: tuple[int, ...],
    dtype: np.dtype,
    form: Layout,
    axes: str,
    top: float,
) -> None:
    """Write a TIFF file plane by plane.

    Parameters
    ----------
    path : Path
    bands : iterable of (rows, X) ndarray
        Whole rows from the top down, plane after plane; a plane begins with a band of its own.
    shape : tuple of int
        Of all, with the axes ``axes``.
    dtype : dtype
    form : Layout
        Of the file to resemble: byte order, tiles, pages and their tags, metadata.
    axes : str
        Those of ``form``, with "C" before the last two if there are channels.
    top : float
        Largest value, for the display range of ImageJ.
    """
    height, width = shape[-2:]
    tile = form.tile if form.flavour != "imagej" else None  # ImageJ knows no tiles
    if tile is not None and (tile[0] % 16 or tile[1] % 16):
        tile = None
    rows = tile[0] if tile else max(1, min(height, _STRIP // (width * dtype.itemsize)))
    nbytes = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
    options: dict[str, Any] = {
        "dtype": dtype,
        "photometric": "minisblack",
        "compression": "zlib",
        "software": "gmmseg",
        **({"tile": tile} if tile else {"rowsperstrip": rows}),
    }
    parts = _compressed(bands, height, rows, tile, dtype.newbyteorder(form.byteorder))
    with tifffile.TiffWriter(
        path,
        byteorder=form.byteorder,
        bigtiff=form.bigtiff or nbytes > _BIG,
        imagej=form.flavour == "imagej" and not form.bigtiff and nbytes <= _BIG,
        ome=form.flavour == "ome",
    ) as tif:
        if form.flavour == "plain" and len(form.pages) > 1 and axes == form.axes:
            each = -(-height // rows) * (-(-width // tile[1]) if tile else 1)
            for page in form.pages:
                tif.write(islice(parts, each), shape=(height, width), metadata=None, **options,
                          **page)  # fmt: skip
        else:
            metadata = _metadata(form, axes, top)
            tif.write(parts, shape=shape, metadata=metadata, **options, **form.pages[0])


def _metadata(form: Layout, axes: str, top: float) -> dict[str, Any] | None:
    """What tifffile writes into the description; a plain file without channels has none."""
    if form.flavour == "plain":
        return {"axes": axes} if "C" in axes else None
    metadata = dict(form.metadata)
    if "C" in axes:
        metadata.pop("Plane", None)
        metadata.pop("Labels", None)
    if form.flavour == "imagej":
        metadata.setdefault("hyperstack", False)
        metadata |= {"min": 0.0, "max": max(1.0, top)}  # else labels of 0 and 1 are both black
    return metadata | {"axes": axes}


def _compressed(
    bands: Iterable[np.ndarray], height: int, rows: int, tile: tuple[int, int] | None,
    dtype: np.dtype,
) -> Iterator[bytes]:  # fmt: skip
    """Strips or tiles as zlib streams, in the order of the file."""
    for band in regrouped(bands, height, rows):
        stored = band.astype(dtype, copy=False)
        if tile is None:
            yield isal_zlib.compress(np.ascontiguousarray(stored), 2)
            continue
        for left in range(0, stored.shape[1], tile[1]):
            part = stored[:, left : left + tile[1]]
            full = np.zeros(tile, dtype=dtype)  # at the edge, tiles are filled up
            full[: part.shape[0], : part.shape[1]] = part
            yield isal_zlib.compress(full, 2)


def regrouped(bands: Iterable[np.ndarray], height: int, rows: int) -> Iterator[np.ndarray]:
    """Bands of so many rows each, and of what is left at the foot of each plane.

    >>> planes = np.arange(10).reshape(2, 5, 1)
    >>> [band.ravel().tolist() for band in regrouped(planes, 5, 2)]
    [[0, 1], [2, 3], [4], [5, 6], [7, 8], [9]]
    """
    left = np.empty((0, 0))
    done = 0  # rows of this plane that were passed on
    for band in bands:
        held = np.concatenate([left, band]) if len(left) else band
        while len(held) >= rows or (len(held) and done + len(held) == height):
            yield held[:rows]
            done = (done + min(rows, len(held))) % height
            held = held[rows:]
        left = held
