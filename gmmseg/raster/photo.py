"""PNG, JPEG, GIF, BMP, WebP, PNM and JPEG 2000, as Pillow reads them."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from gmmseg.checks import InputError
from gmmseg.raster.image import Raster, as_numbers, first_line, one_unit

# Not every format of Pillow: EPS would start another program, TGA takes any file for its own.
FORMATS = ("PNG", "JPEG", "GIF", "BMP", "WEBP", "PPM", "JPEG2000")

SIGNATURES = (
    b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"GIF87a", b"GIF89a", b"BM",
    b"P1", b"P2", b"P3", b"P4", b"P5", b"P6", b"Pf", b"PF",
    b"\x00\x00\x00\x0cjP  \r\n\x87\n", b"\xff\x4f\xff\x51",
)  # fmt: skip
_ORIENTATION = 0x0112  # EXIF tag


@dataclass(frozen=True, slots=True)
class PhotoSource:
    """What a PNG of labels takes over from the image."""

    dpi: tuple[float, float] | None  # columns, rows
    orientation: int | None  # EXIF: how viewers turn the picture; None if they do not


def is_photo(head: bytes) -> bool:
    """Whether a file that begins so is one of ours."""
    return head.startswith(SIGNATURES) or (head[:4] == b"RIFF" and head[8:12] == b"WEBP")


def read(path: Path, *, label: str) -> Raster:
    """Read a single picture.

    Pixels stay in the order in which they are stored; an orientation in the EXIF data is noted,
    and given to the PNG of labels, so that both turn alike in a viewer.

    Raises
    ------
    InputError
        If the picture is damaged or moves.
    """
    try:
        with any_size(), Image.open(path, formats=FORMATS) as image:
            frames = getattr(image, "n_frames", 1)
            if frames > 1 and image.format != "MPO":
                raise InputError(
                    f"{label} is animated: it holds {frames} frames. Save them as a TIFF stack, "
                    f"or save the one frame you want."
                )
            image.load()
            return _raster(image, path, frames, label)
    except InputError:
        raise
    except Exception as error:  # each decoder of Pillow raises its own kinds
        raise InputError(
            f"{label} is truncated or damaged: its pixels cannot be read ({first_line(error)}). "
            f"Get a fresh copy of it."
        ) from error


def _raster(image: Image.Image, path: Path, frames: int, label: str) -> Raster:
    kind = "jpeg" if image.format in ("JPEG", "MPO") else str(image.format).lower()
    notes = []
    if frames > 1:
        notes.append(f"It holds {frames} pictures; the first is used.")
    depth = _png_depth(path) if kind == "png" else None
    data, alpha, remarks = pixels(image)
    notes += remarks
    if depth == 16 and data.dtype == np.uint8:
        notes.append("Of its 16 bits per colour the upper 8 are used; save it as TIFF for all 16.")
    orientation = image.getexif().get(_ORIENTATION)
    if orientation in range(2, 9):
        notes.append(
            "Viewers turn this picture as its EXIF data say; labels have the stored order of "
            "pixels and are turned alike."
        )
    else:
        orientation = None
    if kind in ("jpeg", "webp"):
        notes.append("Its compression would blur labels, so they are written as PNG.")
    elif kind != "png":
        notes.append("Labels are written as PNG.")
    dpi = image.info.get("dpi")
    dpi = tuple(map(float, dpi)) if dpi and min(dpi) > 0 else None
    spacing, unit = one_unit([25.4 / dpi[1], 25.4 / dpi[0]], ["mm"] * 2) if dpi else (None, "")
    bits = 1 if image.mode == "1" else (depth if data.dtype != np.uint8 else min(depth or 8, 8))
    mask = None if alpha is None else alpha > 0
    return Raster(
        as_numbers(data, label=label),
        "YX" if data.ndim == 2 else "YXC",
        kind,
        path,
        spacing,
        unit,
        bits or data.dtype.itemsize * 8,
        mask,
        tuple(notes),
        PhotoSource(dpi, orientation),
    )


def pixels(
    image: Image.Image, *, palette: bool = True
) -> tuple[np.ndarray, np.ndarray | None, list[str]]:
    """Grey (Y, X) or colours (Y, X, 3), the alpha channel, and remarks."""
    notes: list[str] = []
    alpha = None
    see_through = image.info.get("transparency")
    if image.mode in ("I;16", "I") and isinstance(see_through, int):
        alpha = np.asarray(image) != see_through
        see_through = None
    if image.mode == "P" and not palette:
        return np.array(image), None, notes
    if image.mode == "P" and see_through is None and _is_grey(image):
        return np.array(image), None, notes
    if image.mode in ("P", "PA"):
        notes.append("Its palette was expanded to the colours it stands for.")
        image = image.convert("RGB" if image.mode == "P" and see_through is None else "RGBA")
    elif image.mode == "1" and see_through is not None:
        alpha = np.asarray(image) != bool(see_through)
    elif image.mode in ("L", "RGB") and see_through is not None:
        image = image.convert("RGBA" if image.mode == "RGB" else "LA")
    elif image.mode in ("La", "RGBa"):  # colours multiplied by alpha
        image = image.convert("LA" if image.mode == "La" else "RGBA")
    elif image.mode not in ("1", "L", "LA", "I;16", "I;16B", "I;16L", "I", "F", "RGB", "RGBA"):
        notes.append(f"Its colours were converted from {image.mode} to RGB.")
        image = image.convert("RGB")
    data = np.array(image)
    if image.mode in ("LA", "RGBA"):
        alpha = data[..., -1]
        data = data[..., 0] if image.mode == "LA" else data[..., :3]
    elif image.mode == "I" and data.min() >= 0 and data.max() < 2**16:
        data = data.astype(np.uint16)  # PGM of 16 bits
    if alpha is not None:
        clear = int((alpha == 0).sum())
        left = f"; its {clear} fully transparent pixels are left out" if clear else ""
        notes.append(f"Its alpha channel is not used{left}.")
    return data, alpha, notes


def _is_grey(image: Image.Image) -> bool:
    """Whether each index of a palette stands for that grey, as in most GIF files of grey images."""
    palette = np.array(image.getpalette("RGB")).reshape(-1, 3)
    return bool((palette == np.arange(len(palette))[:, None]).all())


def _png_depth(path: Path) -> int:
    """Bits per sample, from the header: Pillow hands on 8 of 16 for colours without a word."""
    with path.open("rb") as file:
        return file.read(25)[24]


@contextmanager
def any_size() -> Iterator[None]:
    """Let Pillow open big scans, and keep its warnings on odd files to ourselves."""
    before, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        Image.MAX_IMAGE_PIXELS = before
