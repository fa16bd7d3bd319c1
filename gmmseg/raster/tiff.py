"""TIFF, ImageJ hyperstacks and OME-TIFF, as tifffile reads them.

What viewers show is what is segmented: samples that are stored with white as 0 are turned round,
palettes of plain TIFF files are expanded, transparent pixels are left out.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tifffile
from PIL import Image

from gmmseg.checks import InputError
from gmmseg.raster import photo
from gmmseg.raster.image import Raster, as_numbers, first_line, site_order
from gmmseg.raster.tiffheader import layout, spacing

MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_ALPHA = (1, 2)  # ExtraSamples: associated and unassociated alpha
_WHITE_IS_ZERO, _PALETTE, _CMYK, _YCBCR, _CFA = 0, 3, 5, 6, 32803
_JPEG = (6, 7)


class Shown(NamedTuple):
    """Pixels as viewers show them, in the order in which the file has its axes."""

    data: Any
    axes: str  # of tifffile, with S for samples
    alpha: Any = None  # ``data`` without its samples
    notes: tuple[str, ...] = ()


def read(path: Path, *, label: str) -> Raster:
    """Read all pages of the first image of a TIFF file.

    Raises
    ------
    InputError
        If the file is damaged, compressed in a way that needs another package, or has axes that
        cannot be segmented.
    """
    with opened(path, label=label) as (tif, series):
        shown = _decoded(series, path, label)
        return as_raster(shown, tif, series, path, label)


@contextmanager
def opened(path: Path, *, label: str) -> Iterator[tuple[tifffile.TiffFile, Any]]:
    """The file and its first series, once it is known to be whole."""
    with _listening() as remarks:
        try:
            with tifffile.TiffFile(path) as tif:
                if not tif.pages or not tif.series:
                    raise InputError(f"{label} holds no page.")
                series = tif.series[0]
                _check_whole(series, remarks, label)
                yield tif, series
        except InputError:
            raise
        except IndexError as error:  # pages that the metadata promise
            raise InputError(_cut_short(label)) from error
        except Exception as error:  # struct, zlib, ValueError, TiffFileError, MemoryError, ...
            raise InputError(
                f"{label} is truncated or damaged: it cannot be read as TIFF "
                f"({first_line(error)}). Get a fresh copy of it."
            ) from error


def as_raster(shown: Shown, tif: tifffile.TiffFile, series: Any, path: Path, label: str) -> Raster:
    """Put shown pixels into the order of a Raster, with what the file says of them."""
    data, stored, notes = shown.data, shown.axes, list(shown.notes)
    if "C" in stored and stored.endswith("S"):  # channels of several samples
        data = data.transpose([*(i for i, a in enumerate(stored) if a not in "CS"),
                               stored.index("C"), stored.index("S")])  # fmt: skip
        stored = stored.replace("C", "").replace("S", "") + "S"
        data = data.reshape(*data.shape[:-2], -1)
    axes, order = site_order(stored, label=label)
    data = as_numbers(data, label=label).transpose(order)
    alpha = shown.alpha
    if alpha is not None:
        sites = stored.replace("S", "")
        alpha = alpha.transpose(site_order(sites, label=label)[1]) > 0
    named = "".join(axes[axis] for axis in order)
    form = layout(tif, series, axes.replace("C", ""))
    sizes, unit = spacing(form, named)
    if "Z" in named and sizes is not None and not form.slice_known:
        notes.append("It does not say how far its slices lie apart; they count as cubic voxels.")
    if len(tif.series) > 1:
        shape = "x".join(map(str, series.shape))
        notes.append(f"It holds {len(tif.series)} images; the first is used (size {shape}).")
    if (gaps := sum(page is None for page in series.pages)) > 0:
        notes.append(f"{gaps} of its {len(series.pages)} planes are missing and count as 0.")
    kind = "ome-tiff" if form.flavour == "ome" else "tiff"
    bits = int(series.keyframe.bitspersample)
    return Raster(data, named, kind, path, sizes, unit, bits, alpha, tuple(notes), form)


def shown(data: Any, axes: str, page: Any, *, display_lut: bool, label: str) -> Shown:
    """Stored samples as viewers show them.

    Parameters
    ----------
    data : ndarray or dask array
        As tifffile decodes it.
    axes : str
        Of ``data``, S for samples.
    page : tifffile.TiffPage
        The key frame, which says what the samples are.
    display_lut : bool
        Whether a colour map merely displays intensities, as in ImageJ, rather than being them.
    label : str
        What to call the image in messages.
    """
    photometric = int(page.photometric)
    notes: list[str] = []
    alpha = None
    if photometric == _CFA:
        raise InputError(f"{label} is the raw mosaic of a camera; develop it to TIFF or PNG first.")
    extra = tuple(map(int, page.extrasamples))
    if "S" in axes and any(kind in _ALPHA for kind in extra):
        at, last = axes.index("S"), page.samplesperpixel
        which = last - len(extra) + next(i for i, kind in enumerate(extra) if kind in _ALPHA)
        alpha = data[(slice(None),) * at + (which,)]
        rest = [i for i in range(last) if i != which]
        data = data[(slice(None),) * at + (rest if len(rest) > 1 else rest[0],)]
        axes = axes if len(rest) > 1 else axes.replace("S", "")
        notes.append("Its alpha channel is not used; fully transparent pixels are left out.")
    if photometric == _WHITE_IS_ZERO:
        if data.dtype.kind == "b":
            data = ~data
        elif data.dtype.kind == "u":
            data = data.dtype.type(2 ** int(page.bitspersample) - 1) - data
        if data.dtype.kind in "bu":
            notes.append("It stores white as 0; intensities are as shown, and so are thresholds.")
    elif photometric == _PALETTE and page.colormap is not None and not display_lut:
        if not isinstance(data, np.ndarray):
            raise InputError(f"{label} has a palette; save it in grey or RGB to read it in parts.")
        colours = np.asarray(page.colormap)  # (3, levels) uint16, of which 8 bits are mostly used
        if (colours == colours // 257 * 257).all() or (colours % 256 == 0).all():
            colours = (colours >> 8).astype(np.uint8)
        data, axes = np.moveaxis(colours, 0, -1)[data], axes + "S"
        notes.append("Its palette was expanded to the colours it stands for.")
    elif photometric == _PALETTE:
        notes.append("Its colour table displays intensities, which are used as they are stored.")
    elif photometric == _CMYK and "S" in axes and page.samplesperpixel - len(extra) == 4:
        data, axes = _rgb_of_inks(data, axes), axes.replace("S", "") + "S"
        notes.append("Its colours were converted from CMYK to RGB.")
    return Shown(data, axes, alpha, tuple(notes))


def display_lut(series: Any) -> bool:
    """Whether colour maps in files of this kind leave the intensities alone."""
    return series.kind in ("imagej", "ome", "lsm", "stk", "fluoview", "nih")


def _decoded(series: Any, path: Path, label: str) -> Shown:
    """All samples of a series, by Pillow where tifffile lacks a decoder."""
    page = series.keyframe
    if int(page.photometric) != _YCBCR or int(page.compression) in _JPEG:
        try:
            data = series.asarray()
        except Exception as error:
            if "imagecodecs" not in str(error):
                raise
        else:
            lut = display_lut(series)
            return shown(data, series.axes, page, display_lut=lut, label=label)
    try:
        return _by_pillow(series, path, label)
    except Exception as error:  # each decoder of Pillow raises its own kinds
        raise InputError(needs_codec(page, label)) from error


def needs_codec(page: Any, label: str) -> str:
    """The sentence for a compression that tifffile cannot undo alone."""
    name = getattr(page.compression, "name", str(page.compression))
    return (
        f"{label} is stored with {name} compression (or packed bits), which needs another "
        f"package: pip install imagecodecs."
    )


def _by_pillow(series: Any, path: Path, label: str) -> Shown:
    """Pages decoded by Pillow, whose libtiff knows LZW, JPEG and fax compression."""
    lead = series.axes.replace("Y", "").replace("X", "").replace("S", "")
    size = [series.shape[series.axes.index(axis)] for axis in lead]
    if len(series.pages) != np.prod(size, dtype=int) or any(p is None for p in series.pages):
        raise InputError(needs_codec(series.keyframe, label))
    planes: list[np.ndarray] = []
    alphas: list[np.ndarray] = []
    notes: list[str] = []
    with photo.any_size(), Image.open(path) as image:
        for page in series.pages:
            image.seek(page.index)
            plane, alpha, notes = photo.pixels(image, palette=not display_lut(series))
            if image.mode == "I;16" and int(page.keyframe.photometric) == _WHITE_IS_ZERO:
                plane = np.uint16(2 ** int(page.keyframe.bitspersample) - 1) - plane
            planes.append(plane)
            if alpha is not None:
                alphas.append(alpha)
    data = np.stack(planes).reshape(*size, *planes[0].shape)
    axes = lead + ("YX" if planes[0].ndim == 2 else "YXS")
    clear = np.stack(alphas).reshape(*size, *alphas[0].shape) if alphas else None
    return Shown(data, axes, clear, tuple(notes))


def _rgb_of_inks(data: Any, axes: str) -> np.ndarray:
    """Colours of cyan, magenta, yellow and black inks, as Pillow mixes them."""
    top = np.iinfo(data.dtype).max
    inks = np.moveaxis(np.asarray(data), axes.index("S"), -1)[..., :4].astype(np.float32) / top
    light = (1 - inks[..., :3]) * (1 - inks[..., 3:])
    return np.rint(light * top).astype(data.dtype)


def _check_whole(series: Any, remarks: list[str], label: str) -> None:
    """Raise InputError if the file ends before the pixels that it announces do."""
    broken = any(
        "invalid page offset" in text or "corrupted" in text
        # The description, which is where ImageJ and OME say what the pages are.
        or ("TiffTag 270 " in text and "invalid value offset" in text)
        for text in remarks
    )  # fmt: skip
    for page in series.pages:
        if page is None or broken:
            continue
        ends = [a + n for a, n in zip(page.dataoffsets, page.databytecounts, strict=False) if n]
        broken = bool(ends) and max(ends) > page.parent.filehandle.size
    if series.dataoffset is not None:
        size = series.keyframe.parent.filehandle.size
        broken = broken or series.dataoffset + series.nbytes > size
    if broken:
        raise InputError(_cut_short(label))


def _cut_short(label: str) -> str:
    return (
        f"{label} is truncated or damaged: it ends before its last page does. "
        f"Get a fresh copy of it."
    )


@contextmanager
def _listening() -> Iterator[list[str]]:
    """Collect the errors that tifffile logs where it goes on with less than the whole file."""
    remarks: list[str] = []

    class _Keep(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if record.levelno >= logging.ERROR:
                remarks.append(record.getMessage())

    logger, keep = logging.getLogger("tifffile"), _Keep()
    before, logger.propagate = logger.propagate, False
    logger.addHandler(keep)
    try:
        yield remarks
    finally:
        logger.removeHandler(keep)
        logger.propagate = before
