"""Images of any kind as one thing: pixels, what their axes are, and what belongs to the file."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from gmmseg.checks import InputError

SITE_AXES = "TZYX"
"""Axes of a label image, in the order in which arrays have them: time, slice, row, column."""

UNITS_NM = {"nm": 1.0, "µm": 1e3, "mm": 1e6, "cm": 1e7, "m": 1e9, "inch": 25.4e6}
"""Units of length that files name, in nanometres."""

_SAME_UNIT = {
    **dict.fromkeys(("um", "micron", "microns", "micrometer", "micrometre", "μm"), "µm"),
    **dict.fromkeys(("nanometer", "nanometre"), "nm"),
    **dict.fromkeys(("millimeter", "millimetre"), "mm"),
    **dict.fromkeys(("centimeter", "centimetre"), "cm"),
    **dict.fromkeys(("meter", "metre"), "m"),
    **dict.fromkeys(("in", "inches", '"'), "inch"),
}


@dataclass(frozen=True, slots=True, eq=False)
class Raster:
    """One image, with what is needed to write another on the same pixels."""

    data: Any  # ndarray with the axes of ``axes``; a dask array where it was opened lazily
    axes: str  # of "TZYX" those there are, then "C" where there are several channels
    kind: str  # "png", "jpeg", "gif", ..., "tiff", "ome-tiff", "nifti" or "ome-zarr"
    path: Path | None = None
    spacing: tuple[float, ...] | None = None  # of the axes "ZYX" there are, in ``unit``
    unit: str = ""  # "mm", "µm", ...; empty if unknown
    bits: int | None = None  # that the intensities use, where known
    mask: Any = None  # bool, of shape ``grid``: False where a pixel is fully transparent
    notes: tuple[str, ...] = ()  # a sentence for each thing the user should know
    source: Any = None  # what the writer of this kind needs

    @property
    def grid(self) -> tuple[int, ...]:
        """Size of the image without its channels; the shape that labels have."""
        shape = self.data.shape
        return tuple(shape[:-1]) if self.axes.endswith("C") else tuple(shape)

    @property
    def site_axes(self) -> str:
        """Axes without the channels."""
        return self.axes.removesuffix("C")


def site_order(axes: str, *, label: str) -> tuple[str, tuple[int, ...]]:
    """How to bring axes as files have them into the order of a Raster.

    Parameters
    ----------
    axes : str
        Letters in file order; "S" (samples) counts as "C". A letter that says nothing about its
        axis, such as ImageJ's "I", is a slice where there is no other.
    label : str
        What to call the image in the error message.

    Returns
    -------
    axes : str
        In file order, with the letters of a Raster.
    order : tuple of int
        For ``transpose``.

    Raises
    ------
    InputError
        If two axes are of unknown meaning, or rows or columns are missing.

    Examples
    --------
    >>> site_order("ICYX", label="The image")
    ('ZCYX', (0, 2, 3, 1))
    """
    known = axes.replace("S", "C")
    odd = [letter for letter in known if letter not in SITE_AXES + "C"]
    if len(odd) == 1 and "Z" not in known:
        known = known.replace(odd[0], "Z")
    elif odd or len(set(known)) < len(known) or not {"Y", "X"} <= set(known):
        raise InputError(
            f"{label} has the axes {axes}; only T (time), Z (slices), Y, X and C (channels) can be "
            f"segmented, each once. Save the part you want as a stack of its own."
        )
    order = sorted(range(len(known)), key=lambda axis: (SITE_AXES + "C").index(known[axis]))
    return known, tuple(order)


def as_numbers(data: Any, *, label: str) -> Any:
    """Array in native byte order and with a dtype that can be segmented.

    One-bit images become 0 and 1 (1 is white) and float16 float32; every other type of number
    stays as it is.

    Raises
    ------
    InputError
        If the array is complex, holds records, or has no pixel.
    """
    kind = np.dtype(data.dtype)
    if kind.kind == "c":
        raise InputError(f"{label} is complex ({kind}); save its magnitude and give that.")
    if kind.kind not in "buif":
        raise InputError(f"{label} holds {kind}, not intensities.")
    if 0 in data.shape:
        raise InputError(f"{label} has no pixels: its size is {'x'.join(map(str, data.shape))}.")
    if kind.kind == "b":
        return data.astype(np.uint8)
    if kind == np.float16:
        return data.astype(np.float32)
    return data.astype(kind.newbyteorder("="), copy=False)


def one_unit(
    sizes: Sequence[float | None], units: Sequence[str | None]
) -> tuple[tuple[float, ...] | None, str]:
    """Pixel sizes in one unit, that of the last axis (columns).

    Slices whose distance is missing lie as far apart as rows. Where the size of a row or column
    is missing, or units cannot be compared, nothing is known.

    >>> one_unit([2.0, 500.0, 500.0], ["micron", "nm", "nm"])
    ((2000.0, 500.0, 500.0), 'nm')
    >>> one_unit([None, 0.5, 0.5], ["", "mm", "mm"])
    ((0.5, 0.5, 0.5), 'mm')
    """
    names = [plain_unit(unit) for unit in units]
    usable = [size is not None and np.isfinite(size) and size > 0 for size in sizes]
    if not all(usable[-2:]):
        return None, ""
    found: list[float] = []
    for size, name, known in zip(sizes, names, usable, strict=True):
        if not known or size is None:
            found.append(np.nan)
        elif name == names[-1]:
            found.append(float(size))
        elif name in UNITS_NM and names[-1] in UNITS_NM:
            found.append(float(size) * (UNITS_NM[name] / UNITS_NM[names[-1]]))
        else:
            return None, ""
    return tuple(found[-2] if np.isnan(size) else size for size in found), names[-1]


def plain_unit(unit: str | None) -> str:
    r"""The short name of a unit of length, and nothing for those that name none.

    >>> plain_unit("micron"), plain_unit("\\u00B5m"), plain_unit("pixel")
    ('µm', 'µm', '')
    """
    name = re.sub(r"\\u00b5|\u03bc", "µ", (unit or "").strip(), flags=re.IGNORECASE)
    name = _SAME_UNIT.get(name.lower(), name)
    return "" if name.lower() in ("pixel", "pixels", "reference frame") else name


def first_line(error: BaseException) -> str:
    """What an exception of another library says, short enough for a sentence of ours."""
    text = (str(error).strip() or type(error).__name__).splitlines()[0]
    return re.sub(r"<[^>]*> ?", "", text)[:160].strip(" .")
