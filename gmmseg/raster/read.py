"""Reading any image that can be thresholded: pictures, TIFF stacks, volumes, OME-Zarr.

What a file is, its first bytes say; its name counts only where they do not.
"""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from gmmseg import imagefile, maskfile, volume
from gmmseg.affines import voxel_sizes
from gmmseg.checks import InputError, reachable
from gmmseg.raster import omezarr, photo, tiff
from gmmseg.raster.image import Raster
from gmmseg.raster.paths import VOLUME, split_name

READ = "PNG, JPEG, GIF, BMP, WebP, PNM, TIFF, OME-TIFF, OME-Zarr, NIfTI, MGH and MINC are read"
_GZIP, _HDF5, _NETCDF = b"\x1f\x8b", b"\x89HDF\r\n\x1a\n", b"CDF\x01"
_CAMERA_BITS = (10, 12, 14)


def read(path: str | os.PathLike[str], *, volume: int | None = None) -> Raster:
    """Read an image with all its pages, slices and channels.

    Parameters
    ----------
    path : path
        PNG, JPEG, GIF, BMP, WebP, PNM, JPEG 2000; TIFF, ImageJ hyperstack, OME-TIFF; NIfTI and
        what else nibabel reads; folder of an OME-Zarr.
    volume : int, optional
        Which volume of a 4-D NIfTI image, from 0.

    Returns
    -------
    Raster
        Types of numbers stay as stored, in native byte order; one-bit images are 0 and 1 with
        1 for white, NIfTI voxels float32 as scaled by their header. NaN and infinity in TIFF and
        OME-Zarr are kept. An image whose colour channels are equal has one.

    Raises
    ------
    InputError
        One sentence: missing, a folder, empty, damaged, animated, no image, or with values or
        axes that cannot be thresholded.
    """
    path = Path(path)
    label = f"The image {path}"
    how = kind_of(path, label)
    if how == "zarr":
        raster = omezarr.read(path, label=label)
    elif how == "tiff":
        raster = tiff.read(path, label=label)
    elif how == "photo":
        raster = photo.read(path, label=label)
    else:
        return _volume(path, volume)
    return _plainer(raster)


def read_mask(path: str | os.PathLike[str], raster: Raster) -> np.ndarray:
    """Read the region in which an image is to be thresholded.

    Parameters
    ----------
    path : path
        Any image that :func:`read` reads. What is not zero is inside; of fractions those of at
        least half, as :func:`gmmseg.maskfile.read_mask` has it; in a JPEG, whose zeros are never
        quite zero, what is at least half as bright as its brightest pixel.
    raster : Raster
        The image. A mask of one plane holds for every plane of a stack.

    Returns
    -------
    ndarray of bool, of shape ``raster.grid``

    Raises
    ------
    InputError
        If the mask cannot be read, has another size (or lies elsewhere, for NIfTI), or is empty.
    """
    path = Path(path)
    label = f"The mask {path}"
    if kind_of(path, label) == "volume":
        if raster.kind == "nifti":
            return maskfile.read_mask(path, raster.source).T
        remedy = "a mask must be 3-D: save one of them as an image of its own."
        data, axes = imagefile.load(path, name="mask", remedy=remedy).data.T, "ZYX"
        if raster.site_axes == "YX" and data.shape[0] == 1:
            data, axes = data[0], "YX"
        mask = Raster(data, axes, "nifti")
    else:
        mask = read(path)
    inside = mask.data != 0
    if mask.kind == "jpeg":
        inside = mask.data >= max(mask.data.max() / 2, 1)
    elif mask.data.dtype.kind == "f":
        inside = maskfile.inside(mask.data, label)
    if mask.axes.endswith("C"):
        inside = inside.any(axis=-1)
    fits = inside.shape == raster.grid or inside.shape == raster.grid[-2:]
    if not fits:
        raise InputError(
            f"{label} has size {_times(mask.site_axes, inside.shape)} and the image "
            f"{_times(raster.site_axes, raster.grid)}; they must agree, or the mask be one plane "
            f"of that size."
        )
    if not inside.any():
        raise InputError(f"{label} is empty: no pixel differs from 0.")
    return np.broadcast_to(inside, raster.grid)


@reachable()
def kind_of(path: Path, label: str) -> str:
    """Which reader a path is for: "photo", "tiff", "volume" or "zarr".

    Raises InputError, where ``label`` names the file, if it holds no image of those.
    """
    if not path.exists():
        raise InputError(f"{label} does not exist.")
    if path.is_dir():
        if omezarr.is_zarr(path):
            return "zarr"
        raise InputError(f"{label} is a folder that holds no OME-Zarr; give an image file.")
    try:
        with path.open("rb") as file:
            head = file.read(512)
    except OSError as error:
        reason = "permission denied" if isinstance(error, PermissionError) else error.strerror
        raise InputError(f"{label} cannot be opened: {reason}.") from error
    if not head:
        raise InputError(f"{label} is an empty file.")
    if photo.is_photo(head):
        return "photo"
    if head.startswith(tiff.MAGIC):
        return "tiff"
    named = split_name(path)[1].lower() in VOLUME
    if named or head.startswith((_GZIP, _HDF5, _NETCDF)) or b"n+1\0" in (head[344:348],):
        return "volume"
    raise InputError(f"{label} is not an image that can be read{_hint(head)}. {READ}.")


def _hint(head: bytes) -> str:
    """What a file that is none of ours seems to be."""
    if head[128:132] == b"DICM":
        return " but DICOM: convert it with dcm2niix, or save it as TIFF"
    if head.startswith((b"ZISRAWFILE", b"\xda\xce\xbe\x0a", b"\x70\x00\x00\x00")):
        return " but the format of a microscope: save it as OME-TIFF with ImageJ (Bio-Formats)"
    if head.startswith(b"%PDF"):
        return " but PDF: save its pages as PNG or TIFF"
    text = head.decode("latin-1")
    if text.isascii() and all(c.isprintable() or c.isspace() for c in text):
        return f" but text, which begins with {' '.join(text.split())[:20]!r}"
    return ""


def _volume(path: Path, which: int | None) -> Raster:
    """A NIfTI image and its kin, slices first."""
    scan = volume.read(path, volume=which)
    sizes = voxel_sizes(scan.affine)[::-1]
    spacing = tuple(map(float, sizes))
    notes = volume.remarks(replace(scan, affine=np.eye(4))) if scan.n_missing else ()
    return Raster(scan.data.T, "ZYX", "nifti", path, spacing, "mm", notes=notes, source=scan)


def _plainer(raster: Raster) -> Raster:
    """One channel where all are equal, and how many bits a camera really gave."""
    data, axes, notes = raster.data, raster.axes, list(raster.notes)
    if axes.endswith("C") and all(
        np.array_equal(data[..., 0], data[..., c], equal_nan=data.dtype.kind == "f")
        for c in range(1, data.shape[-1])
    ):
        data, axes = np.ascontiguousarray(data[..., 0]), axes.removesuffix("C")
        if raster.data.shape[-1] > 1:
            notes.append("Its colour channels are equal, so it is treated as grey.")
    bits = raster.bits
    if data.dtype == np.uint16:
        used = int(data.max()).bit_length()
        bits = next((n for n in _CAMERA_BITS if 8 < used <= n), bits)
        if bits in _CAMERA_BITS:
            notes.append(f"It uses {bits} of the 16 bits in which it is stored.")
    return replace(raster, data=data, axes=axes, bits=bits, notes=tuple(notes))


def _times(axes: str, shape: Any) -> str:
    """A size with its axes.

    >>> _times("YX", (3, 4))
    '3x4 (YX)'
    """
    return f"{imagefile.times(tuple(shape))} ({axes})"
