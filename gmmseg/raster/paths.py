"""Which files are meant, and what those that come of them are called."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterable
from pathlib import Path

from gmmseg.checks import InputError, reachable
from gmmseg.raster.omezarr import is_zarr

PHOTO = (".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".gif", ".bmp", ".webp", ".pgm", ".ppm", ".pbm",
         ".pnm", ".pfm", ".jp2", ".j2k")  # fmt: skip
OME_TIFF = (".ome.tif", ".ome.tiff", ".ome.btf", ".ome.tf2", ".ome.tf8")
TIFF = (".tif", ".tiff", ".btf", ".tf2", ".tf8", ".lsm", ".stk", ".svs")
VOLUME = (".nii", ".nii.gz", ".mgz", ".mgh", ".mgh.gz", ".mnc", ".mnc.gz", ".img", ".hdr", ".par",
          ".rec")  # fmt: skip
ZARR = (".ome.zarr", ".zarr")
_ALL = sorted((*PHOTO, *OME_TIFF, *TIFF, *VOLUME, *ZARR), key=len, reverse=True)
_WRITABLE_TIFF = (".tif", ".tiff", ".btf", ".tf2", ".tf8")
_OURS = ("_dseg", "_probseg", "_threshold")


def split_name(path: str | os.PathLike[str]) -> tuple[str, str]:
    """Name of an image without its extension, and the extension, which may have two parts.

    >>> split_name("brain.v2.nii.gz"), split_name("cells.ome.tif"), split_name("scan.007")
    (('brain.v2', '.nii.gz'), ('cells', '.ome.tif'), ('scan.007', ''))
    """
    name = Path(path).name
    for extension in _ALL:
        if name.lower().endswith(extension) and len(name) > len(extension):
            return name[: -len(extension)], name[-len(extension) :]
    return name, ""


def dseg_path(
    path: str | os.PathLike[str],
    out: str | os.PathLike[str] | None = None,
    *,
    kind: str | None = None,
    suffix: str = "dseg",
    numbers: bool = False,
) -> Path:
    """Where the labels of an image go.

    Parameters
    ----------
    path : path
        The image.
    out : path, optional
        Folder; that of the image by default.
    kind : str, optional
        ``Raster.kind``, which is right where the name of the file is not.
    suffix : str
        What is added to the name.
    numbers : bool
        Whether real numbers are to be written, for which PNG has no room: they go to TIFF.

    Returns
    -------
    Path
        Of the kind that came in; pictures of all kinds give PNG, all volumes NIfTI.

    Examples
    --------
    >>> [dseg_path(p).name for p in ("a.JPG", "b.ome.tiff", "c.mgz", "d.ome.zarr")]
    ['a_dseg.png', 'b_dseg.ome.tiff', 'c_dseg.nii.gz', 'd_dseg.ome.zarr']
    """
    stem, extension = split_name(path)
    low = extension.lower()
    if kind is None:
        kind = (
            "ome-tiff" if low in OME_TIFF else "tiff" if low in TIFF
            else "nifti" if low in VOLUME else "ome-zarr" if low in ZARR else "png"
        )  # fmt: skip
    if kind == "ome-zarr":
        new = extension if low in ZARR else ".ome.zarr"
    elif kind == "nifti":
        new = extension if low in (".nii", ".nii.gz") else ".nii.gz"
    elif kind in ("tiff", "ome-tiff"):
        new = extension if low in (*_WRITABLE_TIFF, *OME_TIFF) else ".tif"
    else:
        new = ".tif" if numbers else ".png"
    folder = Path(path).parent if out is None else Path(out)
    return folder / f"{stem}_{suffix}{new}"


@reachable()
def expand(paths: Iterable[str | os.PathLike[str]]) -> list[Path]:
    """Images that a command line means: files, folders and patterns.

    Parameters
    ----------
    paths : iterable of path
        A file stands for itself, whatever its name, and whether it exists or not, which its
        reader will say. A folder stands for the images directly in it, in the order of their
        names; an OME-Zarr folder is an image. A pattern (``*``, ``?``, ``[]``, ``**``) that is
        no file's name stands for what matches it; Windows leaves them to us.

    Returns
    -------
    list of Path
        Each once. Results of an earlier run (``*_dseg``, ``*_probseg``, ``*_threshold``) are left
        out of folders and patterns, and next to the image they were made from.

    Raises
    ------
    InputError
        If nothing is left, or a folder or a pattern holds no image.
    """
    found: list[Path] = []
    for given in paths:
        path = Path(given)
        if path.is_dir() and not is_zarr(path):
            inside = [p for p in sorted(path.iterdir()) if _is_image(p) and not _is_ours(p)]
            if not inside:
                raise InputError(f"The folder {path} holds no image, except our results.")
            found += inside
        elif not path.exists() and glob.has_magic(str(given)):
            names = glob.glob(str(given), recursive=True)  # noqa: PTH207 (Path.glob takes no absolute ones)
            matches = [Path(name) for name in sorted(names)]
            matches = [p for p in matches if (p.is_file() or is_zarr(p)) and not _is_ours(p)]
            if not matches:
                raise InputError(f"The pattern {given} matches no image, except our results.")
            found += matches
        else:
            found.append(path)
    stems = {(path.parent, split_name(path)[0]) for path in found}
    # Each once, whatever way it is spelled; a link is an image of its own name.
    once: dict[tuple[Path, str], Path] = {}
    for path in found:
        once.setdefault((path.parent.resolve(), path.name), path)
    kept = [path for path in once.values() if not _made_from(path, stems)]
    if not kept:
        raise InputError("No image was given; name files, folders or patterns such as '*.tif'.")
    return kept


def _is_image(path: Path) -> bool:
    if path.name.startswith("."):
        return False
    extension = split_name(path)[1].lower()
    if extension in (".img", ".rec"):  # beside a header that is listed too
        return not path.with_suffix({".img": ".hdr", ".rec": ".par"}[extension]).exists()
    return is_zarr(path) if path.is_dir() else bool(extension) and extension not in ZARR


def _is_ours(path: Path) -> bool:
    return split_name(path)[0].endswith(_OURS)


def _made_from(path: Path, stems: set[tuple[Path, str]]) -> bool:
    stem = split_name(path)[0]
    return any(
        stem.endswith(ours) and (path.parent, stem.removesuffix(ours)) in stems for ours in _OURS
    )
