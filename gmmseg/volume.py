"""Images on disk and in memory: reading, orientation, grids, writing.

Files are opened and checked by :mod:`gmmseg.imagefile`. What both hand on are plain arrays with a
RAS+ mm affine.
"""

from __future__ import annotations

import io
import os
from dataclasses import dataclass
from pathlib import Path
from threading import get_ident
from typing import TYPE_CHECKING, Any

import nibabel as nib
import numpy as np
from isal import isal_zlib
from nibabel import orientations

from gmmseg import imagefile
from gmmseg.checks import InputError

if TYPE_CHECKING:
    from numpy.typing import DTypeLike

GRID_TOLERANCE_MM = 0.05
"""How far corner voxels of two grids may lie apart; above header rounding, far below a voxel."""

GZIP = 31  # window of 32 KiB, with the header and check sum of gzip
CHUNK_BYTES = 1 << 25

OTHER_UNITS = {1: "metres", 3: "micrometres"}  # by NIfTI's code; everything reads mm all the same

# NIfTI fields that say where the voxels are; everything else of the input's header stays behind.
_GEOMETRY = (
    *("pixdim", "xyzt_units", "dim_info", "qform_code", "sform_code"),
    *("quatern_b", "quatern_c", "quatern_d", "qoffset_x", "qoffset_y", "qoffset_z"),
    *("srow_x", "srow_y", "srow_z"),
)


@dataclass(frozen=True, slots=True, eq=False)
class Volume:
    """One scan: intensities on a voxel grid."""

    data: np.ndarray  # (X, Y, Z) float32, image units; missing voxels are NaN
    affine: np.ndarray  # (4, 4) float64, voxel indices to RAS+ mm
    header: Any = None  # nibabel header of the input
    path: Path | None = None
    n_missing: int = 0  # voxels that are NaN or were infinite

    @property
    def shape(self) -> tuple[int, ...]:
        """Size of the grid, (X, Y, Z) voxels."""
        return self.data.shape

    @property
    def voxel_ml(self) -> float:
        """Volume of one voxel in mL; of a parallelepiped where the affine is sheared."""
        return float(abs(np.linalg.det(self.affine[:3, :3]))) / 1000.0


def read(source: Any, *, volume: int | None = None, name: str = "image") -> Volume:
    """Read a scan, refusing what cannot be segmented.

    Parameters
    ----------
    source : path, nibabel image or Volume
        Any format that nibabel reads.
    volume : int, optional
        Which volume of a 4-D image to take, counting from 0.
    name : str
        What to call the image in error messages.

    Returns
    -------
    Volume
        ``data`` is float32; voxels that are NaN or infinite are NaN and counted in ``n_missing``.

    Raises
    ------
    InputError
        If the file is missing, unreadable or no image; if the image is not 3-D, is complex or
        coloured, is empty or constant, or has no valid voxel sizes.
    """
    if isinstance(source, Volume):
        return source
    stored, affine, header, path, label = imagefile.load(source, volume=volume, name=name)
    data = _finite_float32(stored)
    low, high, n_missing = data.min(), data.max(), 0
    if np.isnan(low):
        n_missing = int(np.count_nonzero(np.isnan(data)))
        if n_missing < data.size:
            low, high = np.nanmin(data), np.nanmax(data)
    if n_missing == data.size or low == high:
        raise InputError(_without_contrast(stored, label))
    return Volume(data, affine, header, path, n_missing)


def remarks(volume: Volume) -> tuple[str, ...]:
    """What is odd about a scan that can be used all the same, a sentence each.

    >>> remarks(Volume(np.zeros((2, 2, 2)), np.eye(4), n_missing=3))
    ('3 voxels are NaN or infinite; they are treated as missing.',)
    """
    found = []
    if volume.n_missing:
        found.append(f"{volume.n_missing} voxels are NaN or infinite; they are treated as missing.")
    header, unit = volume.header, 0
    if isinstance(header, nib.Nifti1Header):
        unplaced = header["sform_code"] == 0 and header["qform_code"] == 0
        unit = int(header["xyzt_units"]) & 7  # the other bits are of time
    else:
        unplaced = isinstance(header, nib.AnalyzeHeader)
    if unplaced:
        axes = "".join(nib.aff2axcodes(volume.affine))
        found.append(
            f"The header does not say which way the axes point; they are taken as {axes}. "
            f"Check left and right in the picture."
        )
    if unit in OTHER_UNITS:
        found.append(
            f"The header says that its lengths are in {OTHER_UNITS[unit]}; they are taken as mm."
        )
    return tuple(found)


def check_same_grid(
    image: Volume, other: Volume, *, name: str, atol: float = GRID_TOLERANCE_MM
) -> None:
    """Raise InputError unless ``other`` is sampled on the voxel grid of ``image``.

    Grids are compared by how far their corner voxels lie apart, ``atol`` in mm.
    """
    size, other_size = image.shape, other.shape
    corners = np.array([(*ijk, 1) for ijk in np.ndindex(2, 2, 2)]) * (*np.subtract(size, 1), 1)
    offsets = corners @ (image.affine - other.affine).T
    shift = np.sqrt((offsets[:, :3] ** 2).sum(axis=1)).max()  # mm, at the worst corner
    differences = []
    if size != other_size:
        found, expected = imagefile.times(other_size), imagefile.times(size)
        differences.append(f"it has size {found} and the image {expected}")
    if shift > atol:
        differences.append(f"corner voxels lie up to {shift:.3g} mm apart (allowed {atol:g} mm)")
    if differences:
        raise InputError(
            f"{name} is not on the image's grid: {'; '.join(differences)}. "
            f"Resample it to the image first, with nearest-neighbour interpolation."
        )


def to_canonical(volume: Volume) -> Volume:
    """Same voxels with the axes in the order and direction closest to RAS+.

    The data are C-contiguous; no value is interpolated.
    """
    from gmmseg.layout import laid_out  # numba is loaded while the scan is read

    data = laid_out(turn(volume.data, volume), "C")
    return Volume(data, canonical_affine(volume), None, volume.path, volume.n_missing)


def canonical_affine(volume: Volume) -> np.ndarray:
    """The (4, 4) affine of ``to_canonical(volume)``, without moving any voxel."""
    orientation = orientations.io_orientation(volume.affine)
    return volume.affine @ orientations.inv_ornt_aff(orientation, volume.shape)


def turn(array: np.ndarray, volume: Volume) -> np.ndarray:
    """Bring an array on the grid of ``volume`` to the axes of ``to_canonical(volume)``.

    Parameters
    ----------
    array : (X, Y, Z) or (X, Y, Z, K) ndarray
    volume : Volume

    Returns
    -------
    ndarray, a view of ``array``
    """
    return orientations.apply_orientation(array, orientations.io_orientation(volume.affine))


def from_canonical(array: np.ndarray, volume: Volume) -> np.ndarray:
    """Bring an array on the canonical grid back to the axes of ``volume``.

    Parameters
    ----------
    array : (X, Y, Z) or (X, Y, Z, K) ndarray
        On the grid of ``to_canonical(volume)``.
    volume : Volume

    Returns
    -------
    ndarray, a view of ``array`` with the axes of ``volume`` first
    """
    orientation = orientations.io_orientation(volume.affine)
    axes, flips = orientation[:, 0].astype(int), orientation[:, 1].astype(int)
    array = np.transpose(array, (*axes, *range(3, array.ndim)))
    return array[tuple(slice(None, None, flip) for flip in flips)]


def to_image(array: np.ndarray, like: Volume, *, dtype: DTypeLike) -> nib.Nifti1Image:
    """NIfTI image of an array, with the affine, its codes and the units of ``like``.

    Parameters
    ----------
    array : (X, Y, Z) or (X, Y, Z, K) ndarray
        On the grid of ``like``.
    like : Volume
        Where its header is not NIfTI, the affine is written as scanner coordinates (MGH, MINC,
        PAR/REC) or as aligned ones (Analyze, which has none of its own).
    dtype : dtype
        What is stored; never scaled.
    """
    kind = nib.Nifti2Image if isinstance(like.header, nib.Nifti2Header) else nib.Nifti1Image
    header = kind.header_class()
    if isinstance(like.header, nib.Nifti1Header):
        for field in _GEOMETRY:
            header[field] = like.header[field]
        header["pixdim"][4:] = 1
    else:
        code = 2 if like.header is None or isinstance(like.header, nib.AnalyzeHeader) else 1
        header.set_xyzt_units("mm")
        header.set_sform(like.affine, code)
        header.set_qform(like.affine, code)
        if not np.allclose(header.get_qform(), like.affine, atol=1e-3):
            header["qform_code"] = 0  # a sheared grid has no qform
    header.set_data_dtype(dtype)
    return kind(np.asarray(array, dtype=dtype), like.affine, header)


def save(image: nib.Nifti1Image, path: str | os.PathLike[str]) -> Path:
    """Write an image whole or not at all: under a temporary name first, then renamed.

    Equal images give equal files.
    """
    path = Path(path)
    ending = ".nii.gz" if path.name.endswith(".nii.gz") else path.suffix
    # Not the name itself, which may be as long as names can be.
    temporary = path.with_name(f".gmmseg-{os.getpid()}-{get_ident()}{ending}")
    try:
        if path.name.endswith(".nii.gz"):
            _write_gzip(image, temporary)
        else:
            nib.save(image, temporary)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    return path


def _write_gzip(image: nib.Nifti1Image, path: Path) -> None:
    """Compress an image a few slices at a time, so that no second copy of it is made.

    ISA-L takes a third of zlib's time on a float32 scan, a sixth on labels and probabilities, and
    its files are smaller than zlib's of level 1.
    """
    from gmmseg.layout import laid_out

    header, data = image.header.copy(), np.asarray(image.dataobj)
    header.set_data_offset(header.single_vox_offset)
    header.set_slope_inter(1, 0)
    start = io.BytesIO()
    header.write_to(start)
    padding = header.single_vox_offset - start.tell()
    compressor = isal_zlib.compressobj(2, isal_zlib.DEFLATED, GZIP)
    depth = max(1, CHUNK_BYTES // max(1, data[..., :1].nbytes))
    with path.open("wb") as file:
        file.write(compressor.compress(start.getvalue() + bytes(padding)))
        for first in range(0, data.shape[-1], depth):
            part = data[..., first : first + depth].astype(header.get_data_dtype(), copy=False)
            file.write(compressor.compress(laid_out(part, "F").ravel("F")))
        file.write(compressor.flush())


def _finite_float32(data: np.ndarray) -> np.ndarray:
    """Fresh float32 copy with infinite voxels set to NaN."""
    with np.errstate(over="ignore", invalid="ignore"):
        data = np.array(data, dtype=np.float32)
    if not (np.isfinite(data.min()) and np.isfinite(data.max())):
        data[np.isinf(data)] = np.nan
    return data


def _without_contrast(data: np.ndarray, label: str) -> str:
    """What is wrong with voxels of which no two differ as float32."""
    finite = data[np.isfinite(data)]
    if not finite.size:
        return f"{label} has no finite voxel: every one is NaN or infinite."
    low, high = finite.min(), finite.max()
    if low < high or abs(high) > np.finfo(np.float32).max:
        return (
            f"{label} has values from {low:.9g} to {high:.9g}, which numbers of 32 bits cannot "
            f"hold or tell apart; scale and shift them to between 0 and 1000 or so first."
        )
    every = "every voxel" if finite.size == data.size else "every finite voxel"
    what = "is constant" if low else "is empty"
    return f"{label} {what}: {every} has the value {low:g}. Check that this is the right file."
