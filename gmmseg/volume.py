"""Images on disk and in memory: reading, orientation, grids, writing.

The only module that imports nibabel. Everything it hands on is a plain array with a RAS+ mm affine.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import nibabel as nib
import numpy as np
from nibabel import orientations
from nibabel.imageglobals import logger
from nibabel.minc1 import Minc1Image
from nibabel.spatialimages import SpatialImage

from gmmseg.checks import InputError

if TYPE_CHECKING:
    from numpy.typing import DTypeLike

GRID_TOLERANCE_MM = 0.05
"""How far corner voxels of two grids may lie apart; above header rounding, far below a voxel."""

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


def voxel_sizes(affine: np.ndarray) -> np.ndarray:
    """Edge lengths of a voxel in mm, in the order of the array's axes.

    >>> voxel_sizes(np.diag([-1.0, 2.0, 3.0, 1.0])).tolist()
    [1.0, 2.0, 3.0]
    """
    return np.sqrt((np.asarray(affine, dtype=np.float64)[:3, :3] ** 2).sum(axis=0))


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
    image, path, label = _open(source, name)
    affine = _valid_affine(image, label)
    data = _finite_float32(_one_volume(image, volume, label))
    n_missing = int(np.count_nonzero(np.isnan(data)))
    if n_missing == data.size:
        raise InputError(f"{label} has no finite voxel: every one is NaN or infinite.")
    low, high = np.nanmin(data), np.nanmax(data)
    if low == high:
        raise InputError(
            f"{label} is empty: every voxel has the value {low:g}. Check that this is the scan."
        )
    return Volume(data, affine, image.header, path, n_missing)


def read_mask(source: Any, like: Volume, *, name: str = "mask") -> np.ndarray:
    """Read a brain mask on the grid of a scan.

    Parameters
    ----------
    source : path, nibabel image or (X, Y, Z) array
        Voxels above 0 are inside; where there are fractions, those of at least 0.5.
    like : Volume
        The scan whose grid the mask must have.
    name : str
        What to call the mask in error messages.

    Returns
    -------
    (X, Y, Z) ndarray of bool

    Raises
    ------
    InputError
        If the mask cannot be read, lies on another grid, is empty or is not finite.
    """
    if isinstance(source, np.ndarray):
        label = f"The {name}"
        data = np.squeeze(source) if source.ndim > 3 else source
        if data.shape != like.shape:
            raise InputError(
                f"{label} has shape {source.shape} and the image {like.shape}; they must agree."
            )
    else:
        image, path, label = _open(source, name)
        data = _one_volume(image, None, label)
        grid = Volume(data, _valid_affine(image, label), image.header, path)
        check_same_grid(like, grid, name=label)
    if data.dtype.kind == "c" or not np.isfinite(data).all():
        raise InputError(f"{label} holds voxels that are not finite numbers; it must be 0 or 1.")
    fractions = data.dtype.kind == "f" and bool((data != np.rint(data)).any())
    inside = data >= 0.5 if fractions else data > 0
    if not inside.any():
        raise InputError(f"{label} is empty: no voxel is above {'0.5' if fractions else '0'}.")
    return inside


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
    if size == other_size and shift <= atol:
        return
    raise InputError(
        f"{name} is not on the image's grid: it has size {_times(other_size)} and the image "
        f"{_times(size)}; corner voxels lie up to {shift:.3g} mm apart (allowed {atol:g} mm). "
        f"Resample it to the image first, with nearest-neighbour interpolation."
    )


def to_canonical(volume: Volume) -> Volume:
    """Same voxels with the axes in the order and direction closest to RAS+.

    The data are C-contiguous; no value is interpolated.
    """
    data = np.ascontiguousarray(turn(volume.data, volume))
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

    A ``.gz`` is compressed at level 1: others take up to ten times as long and save a few percent
    on noisy scans. Equal images give equal files.
    """
    path = Path(path)
    temporary = path.with_name(f".gmmseg-{os.getpid()}-{path.name}")
    try:
        nib.save(image, temporary)  # level 1 and no time stamp are nibabel's habit
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    return path


def _times(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape))


def _open(source: Any, name: str) -> tuple[SpatialImage, Path | None, str]:
    """The image with its header checked, its path, and what to call it in messages."""
    if not isinstance(source, (str, os.PathLike)):
        if not isinstance(source, SpatialImage):
            raise InputError(
                f"The {name} must be a path or a nibabel image, not {type(source).__name__}."
            )
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
    sizes = np.asarray(_header_zooms(image), dtype=np.float64)
    if not (np.isfinite(sizes).all() and (sizes > 0).all()):
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


def _one_volume(image: SpatialImage, volume: int | None, label: str) -> np.ndarray:
    """The (X, Y, Z) voxels of a 3-D image, or of one volume of a 4-D one."""
    kind = np.dtype(image.get_data_dtype())
    if kind.kind == "c":
        raise InputError(f"{label} is complex ({kind}); give its magnitude.")
    if kind.fields is not None or kind.kind not in "buif":
        raise InputError(f"{label} holds colours or records ({kind}), not intensities.")
    shape = image.shape
    time_first = isinstance(image, Minc1Image) and len(shape) == 4
    if len(shape) < 3 or 0 in shape:
        raise InputError(f"{label} has size {_times(shape)}; it must have three dimensions.")
    count = shape[0] if time_first else int(np.prod(shape[3:], dtype=np.int64))
    if volume is None and count > 1:
        raise InputError(
            f"{label} holds {count} volumes (size {_times(shape)}); segment one of them: "
            f"--volume N, with N from 0 to {count - 1}."
        )
    chosen = volume or 0
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
            return np.asanyarray(image.dataobj[index])
    except FileNotFoundError as error:
        raise InputError(_missing_part(label, error)) from error
    except Exception as error:  # zlib, gzip, h5py, OSError, ValueError, MemoryError, ...
        raise InputError(
            f"{label} is truncated or damaged: its voxels cannot be read ({_first_line(error)})."
        ) from error


def _finite_float32(data: np.ndarray) -> np.ndarray:
    """Fresh float32 copy with infinite voxels set to NaN."""
    with np.errstate(over="ignore", invalid="ignore"):
        data = np.array(data, dtype=np.float32)
    if not np.isfinite(data).all():
        data[np.isinf(data)] = np.nan
    return data


def _missing_part(label: str, error: FileNotFoundError) -> str:
    part = f" ({error.filename})" if error.filename else ""
    return f"{label} is incomplete: the file that belongs to it{part} does not exist."


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0][:160]
