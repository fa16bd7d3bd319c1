"""What a TIFF file says besides its pixels, in the form in which tifffile writes it again."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import tifffile

from gmmseg.raster.image import one_unit

_MOST_PAGES = 1000  # with tags of their own; the pages of longer stacks are all like the first

# Tags that say where a page lies and what it is called: DocumentName, Orientation, PageName,
# XPosition, YPosition, PageNumber, and where GeoTIFF puts it on the earth.
_KEPT_TAGS = (269, 274, 285, 286, 287, 297, 33550, 33922, 34264, 34735, 34736, 34737)

# What ImageJ says about colours, display and overlays is about the intensities.
_NOT_OF_LABELS = frozenset(
    {"images", "channels", "slices", "frames", "mode", "min", "max", "LUTs", "Ranges", "Plot"}
    | {"ROI", "Overlays", "axes", "shape"}
)
_OME_IMAGE = ("Name", "Description")
_OME_PIXELS = (
    *("PhysicalSizeX", "PhysicalSizeXUnit", "PhysicalSizeY", "PhysicalSizeYUnit"),
    *("PhysicalSizeZ", "PhysicalSizeZUnit", "TimeIncrement", "TimeIncrementUnit"),
)
_OME_PLANE = (
    *("DeltaT", "DeltaTUnit", "PositionX", "PositionXUnit"),
    *("PositionY", "PositionYUnit", "PositionZ", "PositionZUnit"),
)


@dataclass(frozen=True, slots=True)
class Layout:
    """How a TIFF file is made, for writing one like it with a single sample a pixel."""

    flavour: str  # "plain", "shaped", "imagej" or "ome"
    axes: str  # in file order, of "TZYX"
    byteorder: Literal["<", ">"]
    bigtiff: bool
    tile: tuple[int, int] | None
    pages: tuple[dict[str, Any], ...]  # resolution and tags of each page, or of the first
    metadata: dict[str, Any] = field(default_factory=dict)
    slice_known: bool = False  # whether it says how far slices lie apart


def layout(tif: tifffile.TiffFile, series: Any, axes: str) -> Layout:
    """Collect what is to be written again.

    Parameters
    ----------
    tif : TiffFile
    series : TiffPageSeries
        The one that is read.
    axes : str
        Of the series, without channels.
    """
    metadata: dict[str, Any] = {}
    flavour = series.kind if series.kind in ("imagej", "ome", "shaped") else "plain"
    if flavour == "imagej":
        metadata = _kept(tif.imagej_metadata or {})
    elif flavour == "ome":
        metadata = _of_ome(tif.ome_metadata or "", axes, series)
    elif flavour == "shaped":
        metadata = _kept((tif.shaped_metadata or ({},))[0])
    planes = _planes(series, axes)
    n_labels = "Labels" in metadata and len(metadata["Labels"])
    if n_labels and n_labels != planes:
        del metadata["Labels"]  # one of each channel
    first = series.keyframe
    one_each = flavour == "plain" and planes == len(series.pages) <= _MOST_PAGES
    pages = [page.aspage() for page in series.pages] if one_each else [first]
    return Layout(
        flavour,
        axes,
        tif.byteorder,
        tif.is_bigtiff,
        (first.tilelength, first.tilewidth) if first.is_tiled else None,
        tuple(_tags(page) for page in pages),
        metadata,
        "PhysicalSizeZ" in metadata or "spacing" in metadata,
    )


def spacing(form: Layout, axes: str) -> tuple[tuple[float, ...] | None, str]:
    """Pixel size of the axes of "ZYX" there are, in their order in ``axes``, and its unit."""
    space = [axis for axis in axes if axis in "ZYX"]
    if form.flavour == "ome":
        sizes = [_number(form.metadata.get(f"PhysicalSize{axis}")) for axis in space]
        units = [form.metadata.get(f"PhysicalSize{axis}Unit", "µm") for axis in space]
        return one_unit(sizes, units)
    page = form.pages[0]
    if "resolution" not in page:
        return None, ""
    per_unit = {"X": _ratio(page["resolution"][0]), "Y": _ratio(page["resolution"][1])}
    unit = {2: "inch", 3: "cm"}.get(page["resolutionunit"], "")
    scale = {"inch": 25.4, "cm": 10.0}.get(unit, 1.0)
    if form.flavour == "imagej" and "unit" in form.metadata:
        unit, scale = str(form.metadata["unit"]), 1.0
    elif unit:
        unit = "mm"
    density = [per_unit.get(axis) for axis in space]
    sizes = [None if number is None else scale / number for number in density]
    if "Z" in space and form.flavour == "imagej":
        sizes[space.index("Z")] = _number(form.metadata.get("spacing"))
    if not unit and per_unit["X"] == per_unit["Y"] == 1 and not form.slice_known:
        return None, ""  # what writers put where they know nothing
    found, name = one_unit(sizes, [unit] * len(space))
    return found, name


def _tags(page: Any) -> dict[str, Any]:
    """Arguments for TiffWriter.write that give a page the resolution and place of another."""
    kept: dict[str, Any] = {"extratags": []}
    tags = page.tags
    if 282 in tags and 283 in tags:
        kept["resolution"] = (tags[282].value, tags[283].value)
        kept["resolutionunit"] = int(tags[296].value) if 296 in tags else 2
    for code in _KEPT_TAGS:
        if code in tags:
            tag = tags[code]
            kept["extratags"].append((code, int(tag.dtype), tag.count, tag.value, False))
    return kept


def _kept(metadata: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in metadata.items() if key not in _NOT_OF_LABELS}


def _of_ome(xml: str, axes: str, series: Any) -> dict[str, Any]:
    """Sizes, names, times and stage positions of the first image of OME-XML."""
    image = tifffile.xml2dict(xml).get("OME", {}).get("Image", {})
    image = image[0] if isinstance(image, (list, tuple)) else image
    pixels = image.get("Pixels", {})
    found = {key: image[key] for key in _OME_IMAGE if isinstance(image.get(key), str)}
    found |= {key: pixels[key] for key in _OME_PIXELS if key in pixels}
    planes = pixels.get("Plane", ())
    planes = [planes] if isinstance(planes, dict) else list(planes)
    planes = [plane for plane in planes if int(plane.get("TheC", 0)) == 0]
    if planes and len(planes) == _planes(series, axes):
        lead = [f"The{axis}" for axis in axes if axis not in "YX"]
        planes.sort(key=lambda plane: [int(plane.get(key, 0)) for key in lead])
        keys = [key for key in _OME_PLANE if all(key in plane for plane in planes)]
        if keys:
            found["Plane"] = {key: [plane[key] for plane in planes] for key in keys}
    return found


def _planes(series: Any, axes: str) -> int:
    """Number of (Y, X) planes that labels have."""
    letters = series.axes.replace("S", "").replace("C", "")
    shape = [n for a, n in zip(series.axes, series.shape, strict=True) if a not in "SC"]
    lead = [n for a, n in zip(letters, shape, strict=True) if a not in "YX"]
    return int(np.prod(lead, dtype=np.int64)) if axes else 1


def _ratio(value: Any) -> float | None:
    """A rational tag as a number; None where it says nothing."""
    numerator, denominator = value if isinstance(value, (tuple, list)) else (value, 1)
    return numerator / denominator if numerator > 0 and denominator > 0 else None


def _number(value: Any) -> float | None:
    try:
        return float(value)
    except (TypeError, ValueError):
        return None
