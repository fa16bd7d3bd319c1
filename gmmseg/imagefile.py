"""Image files: opening them, and refusing in one sentence those that cannot be used."""

from __future__ import annotations

import gzip
import io
import operator
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import nibabel as nib
import numpy as np
from isal import igzip, isal_zlib
from nibabel.filebasedimages import SerializableImage
from nibabel.imageglobals import logger
from nibabel.minc1 import Minc1Image
from nibabel.spatialimages import SpatialImage

from gmmseg.affines import voxel_sizes
from gmmseg.checks import InputError, reachable

GZIPPED = b"\x1f\x8b"
"""What every file begins with that gzip compressed."""

NIFTI = b"n+1"
"""What stands in the header of a NIfTI file from byte 344 on."""

AFTER_GZIP = "Not a gzipped file"
"""What is said of bytes that follow the compressed ones; all else that is said of the format of a
file is that its check sum or its length is wrong."""


class Contents(NamedTuple):
    """What an image file holds."""

    data: np.ndarray  # (X, Y, Z), as it is stored or scaled
    affine: np.ndarray  # (4, 4) float64, voxel indices to RAS+ mm
    header: Any  # nibabel header
    path: Path | None
    label: str  # what to call the image in messages


def load(
    source: Any, *, volume: int | None = None, name: str, remedy: str | None = None
) -> Contents:
    """Read one volume of an image.

    Parameters
    ----------
    source : path or nibabel image
    volume : int, optional
        Which volume of a 4-D image, from 0.
    name : str
        What kind of image it is, for messages.
    remedy : str, optional
        What to do about an image of several volumes, where none can be chosen by an option.

    Raises
    ------
    InputError
        If there is no such file, or no 3-D image of numbers with a valid grid in it.
    """
    image, path, label = _open(source, name)
    affine = _valid_affine(image, label)
    data = _one_volume(image, volume, label, path, remedy)
    header: Any = image.header
    if _has_sform(header) and not _all_sizes(_header_zooms(image)):
        header = header.copy()  # the caller's stays as it is
        header["pixdim"][1:4] = voxel_sizes(affine)
    return Contents(data, affine, header, path, label)


def n_volumes(source: Any, *, name: str) -> int:
    """How many volumes an image holds, from its header: 1 for a 3-D one."""
    image, _, _ = _open(source, name)
    return int(np.prod(image.shape[3:], dtype=np.int64))


def times(shape: tuple[int, ...]) -> str:
    """A grid's size in words.

    >>> times((2, 3, 4))
    '2x3x4'
    """
    return "x".join(map(str, shape))


@reachable()
def _open(source: Any, name: str) -> tuple[SpatialImage, Path | None, str]:
    """The image with its header checked, its path, and what to call it in messages."""
    if not isinstance(source, (str, os.PathLike)):
        if not isinstance(source, SpatialImage):
            kinds = "a path, a nibabel image or a NumPy array"
            kinds = kinds if name == "mask" else "a path or a nibabel image"
            raise InputError(f"The {name} must be {kinds}, not {type(source).__name__}.")
        return source, None, f"The {name}"
    path = Path(source)
    label = f"The {name} {path}"
    if not path.exists():
        raise InputError(f"{label} does not exist.")
    if path.is_dir():
        raise InputError(f"{label} is a folder; give one image file.")
    if path.stat().st_size == 0:
        raise InputError(f"{label} is an empty file.")
    try:
        with _silence():
            image = nib.load(path)
    except PermissionError as error:
        raise InputError(f"{label} cannot be opened: permission denied.") from error
    except FileNotFoundError as error:
        raise InputError(_missing_part(label, error)) from error
    except Exception as error:  # each format of nibabel raises its own kinds
        start = _start(path)
        if path.suffix == ".nii" and start.startswith(GZIPPED):
            raise InputError(
                f"{label} is compressed by gzip, which its name does not say; "
                f"rename it to {path.name}.gz."
            ) from error
        if path.name.endswith(".nii.gz") and start[344:347] == NIFTI:
            raise InputError(
                f"{label} is not compressed by gzip, as its name says; "
                f"rename it to {path.name.removesuffix('.gz')}."
            ) from error
        raise InputError(
            f"{label} is not an image that can be read, or is damaged ({_first_line(error)}). "
            f"NIfTI, MGH, MINC, Analyze and PAR/REC files are; convert others to NIfTI first."
        ) from error
    if not isinstance(image, SpatialImage):
        raise InputError(f"{label} holds no voxels (it is a {type(image).__name__}).")
    return image, path, label


@contextmanager
def _silence() -> Iterator[None]:
    """Keep nibabel's remarks on header repairs and NumPy's on overflow to ourselves.

    _valid_affine judges the headers, and what overflows is a missing voxel.
    """
    before, logger.disabled = logger.disabled, True
    try:
        with np.errstate(all="ignore"):
            yield
    finally:
        logger.disabled = before


def _valid_affine(image: SpatialImage, label: str) -> np.ndarray:
    """The affine, once voxel sizes are known to be positive and axes independent."""
    sizes = _header_zooms(image)
    if not (_all_sizes(sizes) or _has_sform(image.header)):  # which has the sizes in it
        shown = " x ".join(f"{size:g}" for size in sizes)
        raise InputError(
            f"{label} has voxel size {shown} mm in its header; all must be positive. "
            f"Correct the header first."
        )
    affine = None if image.affine is None else np.array(image.affine, dtype=np.float64)
    if affine is None or not np.isfinite(affine).all():
        raise InputError(f"{label} has an affine that is not finite; correct the header first.")
    edges = voxel_sizes(affine)
    if not (edges > 0).all() or abs(np.linalg.det(affine[:3, :3] / edges)) < 1e-4:
        raise InputError(
            f"{label} has a singular affine (voxel edges {', '.join(f'{e:g}' for e in edges)} mm): "
            f"its axes do not span space. Correct the header first."
        )
    return affine


def _all_sizes(sizes: tuple[float, ...]) -> bool:
    """Whether voxel sizes are finite and positive."""
    return bool(np.isfinite(sizes).all() and (np.asarray(sizes) > 0).all())


def _has_sform(header: Any) -> bool:
    """Whether the affine stands in the header by itself, and is not made from voxel sizes."""
    return isinstance(header, nib.Nifti1Header) and int(header["sform_code"]) > 0


def _header_zooms(image: SpatialImage) -> tuple[float, ...]:
    """Voxel sizes as they stand in the file: nibabel repairs bad ones silently on loading."""
    if not isinstance(image.header, nib.AnalyzeHeader):  # NIfTI headers are its subclasses
        return image.header.get_zooms()[:3]
    holder = image.file_map.get("header", image.file_map["image"])
    if holder.filename is None:
        return image.header.get_zooms()[:3]
    with nib.openers.ImageOpener(holder.filename) as file:
        raw = type(image.header).from_fileobj(file, check=False)
    return tuple(map(float, raw["pixdim"][1:4]))


def _one_volume(
    image: SpatialImage, volume: int | None, label: str, path: Path | None, remedy: str | None
) -> np.ndarray:
    """The (X, Y, Z) voxels of a 3-D image, or of one volume of a 4-D one."""
    kind = np.dtype(image.get_data_dtype())
    if kind.kind == "c":
        raise InputError(f"{label} is complex ({kind}); give its magnitude.")
    if kind.fields is not None or kind.kind not in "buif":
        raise InputError(f"{label} holds colours or records ({kind}), not intensities.")
    shape = image.shape
    time_first = isinstance(image, Minc1Image) and len(shape) == 4
    if len(shape) < 3 or 0 in shape:
        raise InputError(f"{label} has size {times(shape)}; it must have three dimensions.")
    count = shape[0] if time_first else int(np.prod(shape[3:], dtype=np.int64))
    if volume is None and count > 1:
        choice = f"segment one of them: --volume N, with N from 0 to {count - 1}."
        raise InputError(f"{label} holds {count} volumes (size {times(shape)}); {remedy or choice}")
    try:
        chosen = operator.index(volume or 0)
    except TypeError as error:
        raise InputError(
            f"The number of a volume must be whole, from 0; got {volume!r} for {label}."
        ) from error
    if not 0 <= chosen < count:
        raise InputError(
            f"{label} has no volume {chosen}: it holds {count}, counted from 0 to {count - 1}."
        )
    index: Any = ...
    if time_first:
        index = (chosen,)
    elif len(shape) > 3:
        index = (..., *np.unravel_index(chosen, shape[3:], order="F"))
    try:
        with _silence():
            whole = image if count > 1 or path is None else _inflated(image, path)
            return np.asanyarray(whole.dataobj[index])
    except FileNotFoundError as error:
        raise InputError(_missing_part(label, error)) from error
    except Exception as error:  # zlib, gzip, h5py, OSError, ValueError, MemoryError, ...
        raise InputError(
            f"{label} is truncated or damaged: its voxels cannot be read ({_first_line(error)})."
        ) from error


def _inflated(image: SpatialImage, path: Path) -> SpatialImage:
    """The image in memory, where it is one compressed file; else, or if that fails, as it was.

    nibabel inflates a few kB at a time, and waits for the interpreter lock after each of them while
    other threads load kernels. ISA-L takes half of zlib's time. Nor does nibabel look at the check
    sum: where that is wrong, the file is refused, although it could be read.
    """
    if path.suffix.lower() not in (".gz", ".mgz") or not isinstance(image, SerializableImage):
        return image
    try:
        return type(image).from_stream(io.BytesIO(igzip.decompress(path.read_bytes())))
    except gzip.BadGzipFile as error:
        if AFTER_GZIP not in str(error):
            raise
    except (OSError, EOFError, ValueError, isal_zlib.error):  # type: ignore[misc]
        pass
    return image  # nibabel may get at the voxels all the same, or say what is wrong


def _start(path: Path) -> bytes:
    """As many bytes of a file as a NIfTI header has."""
    with path.open("rb") as file:
        return file.read(348)


def _missing_part(label: str, error: FileNotFoundError) -> str:
    part = f" ({error.filename})" if error.filename else ""
    return f"{label} is incomplete: the file that belongs to it{part} does not exist."


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0][:160]
