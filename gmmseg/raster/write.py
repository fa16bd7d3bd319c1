"""Writing labels and maps as the kind of file that the image came in."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from gmmseg import volume
from gmmseg.checks import InputError
from gmmseg.raster import omezarr
from gmmseg.raster.image import Raster
from gmmseg.raster.photo import PhotoSource
from gmmseg.raster.tiffheader import Layout
from gmmseg.raster.tiffwrite import write_pages


def write_labels(path: str | os.PathLike[str], labels: np.ndarray, raster: Raster) -> Path:
    """Write labels on the pixels of an image, compressed without loss.

    Parameters
    ----------
    path : path
        Mostly ``dseg_path(image)``; replaced if it exists.
    labels : ndarray of uint8 or bool, of shape ``raster.grid``
    raster : Raster
        The image. TIFF keeps its pages, resolution, ImageJ or OME metadata, tiles and
        byte order; NIfTI its place and units; PNG its resolution; OME-Zarr its axes and scales.

    Returns
    -------
    Path
        ``path``. It appears whole or not at all.
    """
    labels = np.asarray(labels)
    if labels.dtype == bool:
        labels = labels.astype(np.uint8)
    if labels.dtype != np.uint8 or labels.shape != raster.grid:
        raise InputError(
            f"labels must be uint8 of shape {raster.grid}; got {labels.dtype} {labels.shape}."
        )
    return _write(Path(path), labels, raster, classes_last=False)


def write_map(path: str | os.PathLike[str], values: np.ndarray, raster: Raster) -> Path:
    """Write real numbers, such as probabilities, on the pixels of an image.

    Parameters
    ----------
    path : path
        Mostly ``dseg_path(image, suffix="probseg", numbers=True)``.
    values : ndarray, of shape ``raster.grid`` or ``raster.grid + (K,)``
        Written as float32. K maps become channels: pages of a TIFF, volumes of NIfTI.
    raster : Raster
        The image; of a picture, the map is a TIFF with its resolution.
    """
    values = np.asarray(values, dtype=np.float32)
    if raster.grid not in (values.shape, values.shape[:-1]):
        raise InputError(
            f"a map must have shape {raster.grid}, or that and a last axis of classes; "
            f"got {values.shape}."
        )
    return _write(Path(path), values, raster, classes_last=values.ndim > len(raster.grid))


def _write(path: Path, array: np.ndarray, raster: Raster, *, classes_last: bool) -> Path:
    if raster.kind == "nifti":
        kept = array.transpose([2, 1, 0, 3] if classes_last else [2, 1, 0])
        return volume.save(volume.to_image(kept, raster.source, dtype=array.dtype), path)
    with appearing(path) as temporary:
        if raster.kind == "ome-zarr":
            omezarr.write(temporary, array, raster, classes_last=classes_last)
        elif raster.kind in ("tiff", "ome-tiff"):
            _write_tiff(
                temporary, array, raster.source, raster.site_axes, classes_last=classes_last
            )
        elif array.dtype == np.uint8:
            _write_png(temporary, array, raster.source)
        else:
            form = _from_photo(raster.source)
            _write_tiff(temporary, array, form, "YX", classes_last=classes_last)
    return path


@contextmanager
def appearing(path: Path) -> Iterator[Path]:
    """A temporary name, for a file or a folder, that becomes ``path`` if the block succeeds."""
    temporary = path.with_name(f".gmmseg-{os.getpid()}-{path.name}")
    try:
        yield temporary
        if path.is_dir() and omezarr.is_zarr(path):
            shutil.rmtree(path)  # a folder cannot be renamed over another
        temporary.replace(path)
    except BaseException:
        if temporary.is_dir():
            shutil.rmtree(temporary, ignore_errors=True)
        else:
            temporary.unlink(missing_ok=True)
        raise


def _write_tiff(
    path: Path, array: np.ndarray, form: Layout, axes: str, *, classes_last: bool = False
) -> None:
    """Write an array in memory as a TIFF file like another.

    Parameters
    ----------
    path : Path
    array : ndarray with the axes ``axes``, and classes last if ``classes_last``
    form : Layout
    axes : str
        Of "TZYX".
    """
    order = [axes.index(axis) for axis in form.axes]
    stored = form.axes
    if classes_last:
        at = len(stored) - 2
        order.insert(at, array.ndim - 1)
        stored = stored[:at] + "C" + stored[at:]
    array = array.transpose(order)
    planes = (array[index] for index in np.ndindex(*array.shape[:-2]))
    top = float(np.nanmax(array, initial=0))
    write_pages(path, planes, array.shape, array.dtype, form, stored, top)


def _write_png(path: Path, labels: np.ndarray, source: PhotoSource) -> None:
    options: dict[str, Any] = {} if source.dpi is None else {"dpi": source.dpi}
    if source.orientation is not None:
        exif = Image.Exif()
        exif[0x0112] = source.orientation
        options["exif"] = exif
    with path.open("wb") as file:
        Image.fromarray(labels).save(file, format="PNG", compress_level=3, **options)


def _from_photo(source: PhotoSource) -> Layout:
    """Layout of a TIFF with the resolution of a picture."""
    page: dict[str, Any] = {"extratags": []}
    if source.dpi is not None:
        page |= {"resolution": source.dpi, "resolutionunit": 2}
    if source.orientation is not None:
        page["extratags"].append((274, 3, 1, source.orientation, False))
    return Layout("shaped", "YX", "<", False, None, (page,))
