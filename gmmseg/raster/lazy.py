"""Images larger than memory, opened without reading them: TIFF and OME-Zarr as dask arrays.

Dask and zarr come with ``pip install "gmmseg[large]"``.
"""

from __future__ import annotations

import os
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import tifffile

from gmmseg.checks import InputError
from gmmseg.raster import omezarr, tiff
from gmmseg.raster.image import Raster
from gmmseg.raster.read import kind_of

BLOCK_PIXELS = 2**22
"""Aim for the size of a block: 8 MB of a 16-bit image, so that eight at work stay small."""


def open_lazy(path: str | os.PathLike[str], *, block_pixels: int = BLOCK_PIXELS) -> Raster:
    """Open a TIFF or OME-Zarr image without reading its pixels.

    Parameters
    ----------
    path : path
    block_pixels : int
        Aim for the pixels in a block. Blocks hold whole strips, tiles or chunks of the file, so a
        file whose strips are larger has larger blocks.

    Returns
    -------
    Raster
        As :func:`gmmseg.rasterfile.read` returns it, with a dask array for ``data`` (and for
        ``mask``); colour channels stay apart even where all are equal.

    Raises
    ------
    InputError
        If the file is of another kind, or cannot be read; if dask or zarr is not installed.
    """
    path = Path(path)
    label = f"The image {path}"
    how = kind_of(path, label)
    try:
        import dask.array as da
    except ImportError as error:
        raise omezarr.large(f"Reading {path} in parts", "dask") from error
    if how == "zarr":
        array, header = omezarr.open_image(path, label=label)
        chunks = _blocks(array.shape, array.chunks, header.axes, block_pixels)
        return omezarr.as_raster(da.from_array(array, chunks=chunks), header, label=label)
    if how != "tiff":
        raise InputError(f"{label} cannot be read in parts; save it as TIFF or OME-Zarr.")
    with tiff.opened(path, label=label) as (tif, series):
        source = TiffPixels(path, tif, series, label)
        chunks = _blocks(source.shape, source.natural, series.axes, block_pixels)
        data = da.from_array(source, chunks=chunks, asarray=False, name=False)
        lut = tiff.display_lut(series)
        shown = tiff.shown(data, series.axes, series.keyframe, display_lut=lut, label=label)
        return tiff.as_raster(shown, tif, series, path, label)


class TiffPixels:
    """Pixels of a TIFF series by index, for dask.

    The file is opened where the first pixel is asked for, so that the object can be sent to
    other processes; uncompressed files are mapped, others decoded strip by strip or tile by tile.
    """

    def __init__(self, path: Path, tif: tifffile.TiffFile, series: Any, label: str) -> None:
        self.path = path
        self.shape = tuple(map(int, series.shape))
        self.dtype = np.dtype(series.dtype).newbyteorder("=")
        self.ndim = len(self.shape)
        self.offset = series.dataoffset
        self._stored = np.dtype(series.dtype).newbyteorder(tif.byteorder)
        self._close: weakref.finalize | None = None
        self._array: Any = None
        if self.offset is not None:
            self.natural = tuple(1 if axis == "Y" else n for axis, n in
                                 zip(series.axes, self.shape, strict=True))  # fmt: skip
            self.natural = tuple(1 if axis not in "YXS" else n for axis, n in
                                 zip(series.axes, self.natural, strict=True))  # fmt: skip
            return
        try:
            self.natural = tuple(self._open().chunks)
            self[(slice(0, 1),) * self.ndim]  # now, rather than after an hour
        except ImportError as error:
            raise omezarr.large(label, "zarr") from error
        except Exception as error:
            if "imagecodecs" in str(error):
                raise InputError(tiff.needs_codec(series.keyframe, label)) from error
            raise
        finally:
            self.close()

    def __getitem__(self, index: Any) -> np.ndarray:
        if self.offset is not None:
            whole = np.memmap(self.path, self._stored, "r", self.offset, self.shape)
            return np.array(whole[index], dtype=self.dtype)
        return np.asarray(self._open()[index])

    def close(self) -> None:
        """Close the file, until pixels are asked for again."""
        if self._close is not None:
            self._close()
        self._close = self._array = None

    def _open(self) -> Any:
        if self._array is None:
            import zarr

            file = tifffile.TiffFile(self.path)
            self._close = weakref.finalize(self, file.close)
            self._array = zarr.open(file.aszarr(series=0, level=0), mode="r")
        return self._array

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_close": None, "_array": None}


def _blocks(
    shape: tuple[int, ...], natural: tuple[int, ...], axes: str, pixels: int
) -> tuple[int, ...]:
    """Blocks of about so many pixels made of whole natural ones: rows first, then planes.

    >>> _blocks((90, 4000, 5000), (1, 256, 256), "ZYX", 2**22)
    (1, 768, 5000)
    >>> _blocks((90, 400, 500), (1, 400, 500), "ZYX", 2**22)
    (20, 400, 500)
    """
    blocks = list(natural)
    for axis in "XYZT":
        at = axes.find(axis)
        if at < 0:
            at = next((i for i, letter in enumerate(axes) if letter not in "TZYXCS"), -1)
            if at < 0 or axis != "Z":
                continue
        held = np.prod([n for n, letter in zip(blocks, axes, strict=True) if letter not in "CS"])
        most = -(-shape[at] // blocks[at])
        times = max(1, min(most, int(pixels // held)))
        blocks[at] = min(shape[at], blocks[at] * times)
        if times < most:
            break
    return tuple(min(n, size) for n, size in zip(blocks, shape, strict=True))
