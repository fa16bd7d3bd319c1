"""OME-Zarr images, versions 0.4 and 0.5 (and older ones to read), level by level.

The only module that imports zarr, which comes with ``pip install "gmmseg[large]"``.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from gmmseg.checks import InputError
from gmmseg.raster.image import Raster, as_numbers, first_line, one_unit, plain_unit, site_order

MARKERS = ("zarr.json", ".zgroup", ".zarray", ".zattrs")
_CHUNK = 1024  # rows and columns of a chunk that we write
_TYPES = {"T": "time", "C": "channel"}


@dataclass(frozen=True, slots=True)
class ZarrSource:
    """What an OME-Zarr of labels takes over from the image."""

    version: str  # of OME-NGFF that is written: "0.4" or "0.5"
    axes: tuple[dict[str, str], ...]  # in file order, without channels
    scale: tuple[float, ...]  # of level 0, for ``axes``
    translation: tuple[float, ...] | None
    chunks: tuple[int, ...]  # of level 0, for ``axes``
    n_levels: int
    name: str


def is_zarr(path: Path) -> bool:
    """Whether a folder holds Zarr arrays."""
    return path.is_dir() and any((path / name).exists() for name in MARKERS)


def large(label: str, what: str) -> InputError:
    """The sentence for a package of the extra that is not installed."""
    return InputError(f'{label} needs {what}, which is not installed: pip install "gmmseg[large]".')


def open_image(path: Path, *, label: str) -> tuple[Any, Raster]:
    """The array of the highest resolution in file order, and its Raster without pixels yet.

    Parameters
    ----------
    path : Path
        Folder of an OME-Zarr image; of several images that Bio-Formats wrote into one folder
        the first is taken.
    label : str
        What to call the image in messages.

    Returns
    -------
    array : zarr.Array
    header : Raster
        Its ``data`` is the (unread) array as it is; see :func:`as_raster`.

    Raises
    ------
    InputError
        If the folder holds no multiscale image or zarr is not installed.
    """
    try:
        import zarr
    except ImportError as error:
        raise large(label, "zarr") from error
    try:
        node = zarr.open(str(path), mode="r")
    except PermissionError as error:
        raise InputError(f"{label} cannot be opened: permission denied.") from error
    except Exception as error:  # zarr raises whatever its stores and codecs do
        raise InputError(f"{label} is not a readable Zarr folder ({first_line(error)}).") from error
    if isinstance(node, zarr.Array):
        raise InputError(
            f"{label} is a bare Zarr array that does not say what its axes are; give the folder "
            f"of the OME-Zarr image above it."
        )
    notes: list[str] = []
    attributes = _ome(node)
    if "plate" in attributes or "well" in attributes:
        raise InputError(
            f"{label} is a plate or well of many images; give one of its fields, such as "
            f"{path.name}/A/1/0."
        )
    if "multiscales" not in attributes and "0" in node and not isinstance(node["0"], zarr.Array):
        node = node["0"]
        attributes = _ome(node)
        notes.append("It holds several images; the first, 0, is used.")
    try:
        scales = attributes["multiscales"][0]
        array = node[scales["datasets"][0]["path"]]
        return array, _header(array, scales, attributes, path, tuple(notes))
    except (KeyError, IndexError, TypeError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(
            f"{label} is a Zarr folder without a multiscale image in it (OME-Zarr 0.4 or 0.5)."
        ) from error


def read(path: Path, *, label: str) -> Raster:
    """Read level 0 of an OME-Zarr image into memory."""
    array, header = open_image(path, label=label)
    try:
        data = np.asarray(array[...])
    except Exception as error:  # codecs and file systems raise their own kinds
        raise InputError(
            f"{label} is damaged: a chunk of its level 0 cannot be read ({first_line(error)})."
        ) from error
    return as_raster(data, header, label=label)


def as_raster(data: Any, header: Raster, *, label: str) -> Raster:
    """Put an array in file order into the order of a Raster; for ndarrays and dask arrays."""
    data = as_numbers(data, label=label)
    axes, order = site_order(header.axes, label=label)
    return replace(
        header, data=data.transpose(order), axes="".join(axes[i] for i in order),
        bits=data.dtype.itemsize * 8,
    )  # fmt: skip


def _ome(node: Any) -> dict[str, Any]:
    """Attributes of an image, wherever its version keeps them."""
    attributes = node.attrs.asdict()
    return dict(attributes["ome"]) if "ome" in attributes else attributes


def _header(
    array: Any, scales: dict[str, Any], attributes: dict[str, Any], path: Path,
    notes: tuple[str, ...],
) -> Raster:  # fmt: skip
    axes = scales.get("axes") or list("tczyx")  # before 0.3 there was no choice
    axes = [{"name": axis} if isinstance(axis, str) else dict(axis) for axis in axes]
    letters = "".join(axis["name"][:1].upper() for axis in axes)
    if len(letters) != array.ndim:
        raise ValueError("axes and array differ")
    for axis, letter in zip(axes, letters, strict=True):
        axis.setdefault("type", _TYPES.get(letter, "space"))
    own, around = (
        {step["type"]: step for step in part.get("coordinateTransformations", ())}
        for part in (scales["datasets"][0], scales)
    )
    ones = [1.0] * array.ndim
    outer = np.array(around.get("scale", {}).get("scale", ones), dtype=float)
    scale = np.array(own.get("scale", {}).get("scale", ones), dtype=float) * outer
    shifts = [step["translation"]["translation"] for step in (own, around) if "translation" in step]
    shift = None
    if shifts:
        inner = np.array(own.get("translation", {}).get("translation", [0.0] * array.ndim))
        shift = inner * outer + around.get("translation", {}).get("translation", 0.0)
    sites = [i for i, letter in enumerate(letters) if letter != "C"]
    space = sorted((i for i in sites if letters[i] in "ZYX"), key=lambda i: "ZYX".index(letters[i]))
    units = [plain_unit(axes[i].get("unit")) for i in space]
    known = "scale" in own and any(units)
    sizes, unit = one_unit([float(scale[i]) for i in space], units) if known else (None, "")
    version = str(attributes.get("version") or scales.get("version", "0.4"))
    source = ZarrSource(
        "0.5" if version >= "0.5" else "0.4",
        tuple(axes[i] for i in sites),
        tuple(float(scale[i]) for i in sites),
        None if shift is None else tuple(float(shift[i]) for i in sites),
        tuple(array.chunks[i] for i in sites),
        len(scales["datasets"]),
        str(scales.get("name", "") or path.name.split(".")[0]),
    )
    return Raster(array, letters, "ome-zarr", path, sizes, unit, notes=notes, source=source)


def create(
    path: Path, grid: tuple[int, ...], raster: Raster, *, dtype: Any, n_classes: int | None = None
) -> list[Any]:
    """Empty levels of a new OME-Zarr image on the pixels of another.

    Each level takes every second row and column of the one before, so that level ``l`` is
    ``level0[..., ::2**l, ::2**l]``: labels are not averaged, and the positions of pixels that
    the scale gives are exact.

    Parameters
    ----------
    path : Path
        Folder that does not exist yet.
    grid : tuple of int
        Size of the labels, in the order of ``raster.site_axes``.
    raster : Raster
        Of an OME-Zarr image.
    dtype : dtype
    n_classes : int, optional
        Adds an axis of channels before the rest, for probabilities.

    Returns
    -------
    list of zarr.Array
        Their axes are those of the file, see :func:`to_file_order`; level 0 first.
    """
    import zarr

    source: ZarrSource = raster.source
    extra = () if n_classes is None else (n_classes,)
    names = [axis["name"] for axis in source.axes]
    stored = [grid[raster.site_axes.index(name[:1].upper())] for name in names]
    axes = [{"name": "c", "type": "channel"}] * len(extra) + list(source.axes)
    axes.sort(key=lambda axis: axis["type"] != "time")  # the order that the standard asks for
    at = next(i for i, axis in enumerate([*axes, {"type": "channel"}]) if axis["type"] == "channel")
    version3 = source.version == "0.5"
    group = zarr.create_group(store=str(path), zarr_format=3 if version3 else 2)
    levels, datasets = [], []
    for level in range(max(1, source.n_levels)):
        step = [2**level if name[:1].upper() in "YX" else 1 for name in names]
        shape = [-(-n // s) for n, s in zip(stored, step, strict=True)]
        if level and max(n for n, s in zip(shape, step, strict=True) if s > 1) < 16:
            break
        chunks = [min(n, max(c, 1)) for n, c in zip(shape, source.chunks, strict=True)]
        scale = [a * s for a, s in zip(source.scale, step, strict=True)]
        moves = None if source.translation is None else list(source.translation)
        if extra:
            shape.insert(at, extra[0])
            chunks.insert(at, 1)
            scale.insert(at, 1.0)
            if moves is not None:
                moves.insert(at, 0.0)
        options: dict[str, Any] = {"dimension_names": [axis["name"] for axis in axes]}
        if not version3:
            options = {"chunk_key_encoding": {"name": "v2", "separator": "/"}}
        levels.append(
            group.create_array(
                str(level), shape=shape, chunks=tuple(chunks), dtype=dtype, fill_value=0, **options
            )
        )
        steps: list[dict[str, Any]] = [{"type": "scale", "scale": scale}]
        if moves is not None:
            steps.append({"type": "translation", "translation": moves})
        datasets.append({"path": str(level), "coordinateTransformations": steps})
    scales: dict[str, Any] = {"name": source.name, "axes": axes, "datasets": datasets}
    if version3:
        group.attrs["ome"] = {"version": "0.5", "multiscales": [scales]}
    else:
        group.attrs["multiscales"] = [{"version": "0.4", **scales}]
    return levels


def to_file_order(array: Any, raster: Raster, *, classes_last: bool = False) -> Any:
    """Labels, or maps with a class axis last, in the order of the axes of the file."""
    source: ZarrSource = raster.source
    letters = [axis["name"][:1].upper() for axis in source.axes]
    order = [raster.site_axes.index(letter) for letter in letters]
    if classes_last:
        order.insert(1 if letters[0] == "T" else 0, array.ndim - 1)
    return array.transpose(order)


def write(path: Path, array: np.ndarray, raster: Raster, *, classes_last: bool = False) -> None:
    """Write an image in memory, with levels like those of the image it was made from."""
    grid = array.shape[:-1] if classes_last else array.shape
    n_classes = array.shape[-1] if classes_last else None
    levels = create(path, grid, raster, dtype=array.dtype, n_classes=n_classes)
    stored = to_file_order(array, raster, classes_last=classes_last)
    for level, target in enumerate(levels):
        target[...] = stored[level_slices(raster, stored.ndim, level)]


def level_slices(raster: Raster, ndim: int, level: int) -> tuple[slice, ...]:
    """Which pixels of level 0, in file order, make up a level."""
    letters = [axis["name"][:1].upper() for axis in raster.source.axes]
    steps = [slice(None, None, 2**level if letter in "YX" else 1) for letter in letters]
    return (slice(None),) * (ndim - len(steps)) + tuple(steps)
