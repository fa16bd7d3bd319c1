"""``thresholds.tsv``: one row an image, and a description of its columns beside it."""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from gmmseg.checks import InputError
from gmmseg.intensities import IntensitySegmentation
from gmmseg.raster.paths import split_name
from gmmseg.spatial.bands import ThresholdBand

TABLE, SIDECAR = "thresholds.tsv", "thresholds.json"
MISSING = "n/a"  # as BIDS writes it
MOST_CLASSES = 1000  # that a column may be about; more is a name that looks like one
FLAGS = ("one_class", "empty_class")

_FIXED = ("image", "part", "status", "classes", "pixels")
_BY_CLASS = {
    "threshold": "Intensity above which the class after this one begins, image units (of the "
    "evened image, where illumination is 'kept').",
    "mean": "Mean intensity of the pixels of the class, image units; of two classes, 1 is the "
    "background and 2 the foreground.",
    "fraction": "Share of the labelled pixels that are of the class.",
    "low": "Lower end of the 90 % band of the threshold (--report).",
    "high": "Upper end of the 90 % band of the threshold (--report).",
    "area_low": "Share of the pixels on the foreground's side of the lower end, by intensity.",
    "area_high": "Share of the pixels on the foreground's side of the upper end, by intensity.",
}
_LAST = {
    "separation": "Distance of the two nearest neighbouring class means, in standard deviations.",
    "misfit": "Largest distance between the distribution functions of image and mixture, 0 to 1.",
    "scale": "Scale on which the classes are Gaussian, or the families of the classes.",
    "illumination": "Whether a smooth gain was estimated and kept.",
    "flags": f"Of {', '.join(FLAGS)}: one class explains the image as well; a class has no pixel.",
    "options": "Options that were given.",
    "files": "Files that were made of the image, by what follows its name and an underscore.",
    "message": "Warnings, or why the image failed.",
}
_DESCRIPTIONS = {
    "image": "The image, as it was named.",
    "part": "Frame (t) or slice (z), from 0, where each had thresholds of its own.",
    "status": "ok or failed.",
    "classes": "Number of classes.",
    "pixels": "Labelled pixels or voxels.",
    **_LAST,
}


@dataclass(frozen=True, slots=True)
class Table:
    """Rows, and the columns that somebody has added to ours."""

    rows: Sequence[Row] = ()
    added: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Row:
    """One row of the table, by column; what is not there is n/a."""

    cells: Mapping[str, str]

    @property
    def stem(self) -> str:
        """Name of the image without its extension, by which its files go."""
        return split_name(self.cells["image"])[0]

    @property
    def ok(self) -> bool:
        """Whether the image was labelled."""
        return self.cells["status"] == "ok"

    @property
    def files(self) -> tuple[str, ...]:
        """Names of the files that were made of the image."""
        endings = self.cells.get("files", MISSING)
        return tuple(f"{self.stem}_{one}" for one in endings.split(",") if one != MISSING)

    def only(self, columns: Sequence[str]) -> dict[str, str]:
        """Cells of some columns, as far as there are any."""
        return {name: self.cells[name] for name in columns if name in self.cells}

    def joined(self, cells: Mapping[str, str]) -> Row:
        """The row with further cells."""
        return Row({**self.cells, **cells})


def row_of(
    image: Path,
    part: str,
    result: IntensitySegmentation,
    band: ThresholdBand | None,
    *,
    dark: bool,
    options: str,
    files: Sequence[str],
    n_pixels: int | None = None,
) -> Row:
    """What the table says of one segmentation, of which ``files`` were made."""
    k, fit = result.n_classes, result.fit
    n = n_pixels
    if n is None:
        n = result.labels.size if result.mask is None else int(np.count_nonzero(result.mask))
    cells = {"image": str(image), "part": part or MISSING, "status": "ok", "classes": str(k),
             "pixels": str(n), "options": options, "files": _endings(image, files)}  # fmt: skip
    cells |= _numbered("threshold", result.thresholds)
    cells |= _numbered("mean", result.class_means)
    cells |= _numbered("fraction", result.fractions)
    if band is not None:
        areas = [1 - a if dark and k == 2 else a for a in (band.above_low, band.above_high)]
        cells |= _numbered("low", band.low) | _numbered("high", band.high)
        cells |= _numbered("area_low", areas[0]) | _numbered("area_high", areas[1])
    flags = []
    if result.one_class or k == 1:
        flags.append("one_class")
    if (result.fractions == 0).any():
        flags.append("empty_class")
    if fit is not None:
        cells |= {"separation": _number(float(fit.separation.min())), "misfit": _number(fit.misfit)}
    decisions = result.decisions
    cells["scale"] = str(decisions.get("scale", MISSING))
    if "illumination" in decisions:
        cells["illumination"] = "kept" if decisions["illumination"] else "none"
    cells |= {"flags": ",".join(flags) or MISSING, "message": " ".join(result.warnings) or MISSING}
    return Row(cells)


def failed_row(image: Path, message: str, options: str, files: Sequence[str] = ()) -> Row:
    """The row of an image that could not be labelled; ``files`` are there of an earlier run."""
    cells = {"image": str(image), "status": "failed", "message": message, "options": options}
    return Row({**cells, "files": _endings(image, files)})


def read_table(folder: Path) -> Table:
    """The table of an earlier run, empty if there was none.

    Raises
    ------
    InputError
        If there is a file of that name that is no such table.
    """
    path = folder / TABLE
    if not path.exists():
        return Table()
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE)
            rows, names = list(reader), reader.fieldnames or ()
        if any(set(_FIXED) - set(row) for row in rows):
            raise ValueError("no such columns")
        known = [
            Row({k: v for k, v in row.items() if k is not None and v not in (MISSING, None)})
            for row in rows
        ]
        return Table(known, tuple(name for name in names if name and not _is_ours(name)))
    except (ValueError, csv.Error, OSError) as error:
        raise InputError(
            f"The table {path} is not one of gmmseg threshold; move it, or choose another folder "
            f"with -o."
        ) from error


def write_table(folder: Path, table: Table) -> tuple[Path, Path]:
    """Write the table and its description, each whole or not at all.

    Columns that somebody has added stay, behind ours.
    """
    rows = table.rows
    used = {"threshold_1", "mean_1", "mean_2", "fraction_1", "fraction_2"}
    used |= {name for row in rows for name in row.cells if _is_ours(name)}
    most = max((_index(name) for name in used), default=0)
    by_class = [
        f"{name}_{k}"
        for group in (("threshold",), ("mean",), ("fraction",),
                      ("low", "high", "area_low", "area_high"))
        for k in range(1, most + 1)
        for name in group
        if f"{name}_{k}" in used
    ]  # fmt: skip
    ours = [*_FIXED, *by_class, *_LAST]
    columns = [*ours, *table.added]
    text = io.StringIO()
    writer = csv.DictWriter(
        text,
        columns,
        restval=MISSING,
        delimiter="\t",
        lineterminator="\n",
        quoting=csv.QUOTE_NONE,
        quotechar=None,
    )
    writer.writeheader()
    writer.writerows({k: " ".join(v.split()) for k, v in row.cells.items()} for row in rows)
    path, sidecar = folder / TABLE, folder / SIDECAR
    told = {name: {"Description": _description(name)} for name in ours}
    for one, content in ((path, text.getvalue()), (sidecar, json.dumps(told, indent=2) + "\n")):
        temporary = one.with_name(f".gmmseg-{os.getpid()}-{one.name}")
        try:
            # the name of a file may hold bytes that are no text
            temporary.write_text(content, encoding="utf-8", errors="replace")
            temporary.replace(one)
        finally:
            temporary.unlink(missing_ok=True)
    return path, sidecar


def _numbered(name: str, values: np.ndarray) -> dict[str, str]:
    return {f"{name}_{k}": _number(value) for k, value in enumerate(values, start=1)}


def _number(value: float) -> str:
    """Seven digits, which float32 images have; n/a for what is not finite."""
    return f"{value:.7g}" if np.isfinite(value) else MISSING


def _endings(image: Path, names: Sequence[str]) -> str:
    """What follows the stem, which may hold anything, commas and tabs too."""
    stem = split_name(image)[0]
    return ",".join(name.removeprefix(f"{stem}_") for name in names) or MISSING


def _index(name: str) -> int:
    """The class that a column of ours is about, from 1; 0 where it is about none."""
    stem, _, tail = name.rpartition("_")
    return int(tail) if stem in _BY_CLASS and tail.isascii() and tail.isdecimal() else 0


def _is_ours(name: str) -> bool:
    return name in _DESCRIPTIONS or 0 < _index(name) <= MOST_CLASSES


def _description(name: str) -> str:
    stem = name.rpartition("_")[0] if _index(name) else ""
    if stem in _BY_CLASS:
        return _BY_CLASS[stem]
    return _DESCRIPTIONS[name]
