"""The picture of one segmentation: enough to see whether to trust it."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from gmmseg import volume as volumes
from gmmseg.affines import voxel_sizes
from gmmseg.bins import some_finite
from gmmseg.brainhistogram import draw_histogram
from gmmseg.labels import colours
from gmmseg.lettering import letter
from gmmseg.spatial.boxes import box_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from gmmseg.tissues import BrainSegmentation

WIDTH = 16.0  # of the figure, inches
N_SLICES = 7
N_NOTES = 16  # lines beside the pictures
N_SHADES = 100_000  # voxels of the brain that say what is black and what is white
MARGIN_MM = 12.0  # of head shown around the brain, to see what was left out
GAP_MM = 6.0  # between pictures side by side
SIGN: dict[str, Any] = {
    "color": "white",
    "fontsize": 9,
    "bbox": {"facecolor": "black", "alpha": 0.6, "edgecolor": "none", "pad": 1.5},
}


class Plane(NamedTuple):
    """One of the three orientations."""

    name: str
    axis: int  # of the RAS+ array, which the slices are taken across
    low: str  # side of the patient at the left of the picture
    high: str


PLANES = (
    Plane("sagittal", 0, "P", "A"),
    Plane("coronal", 1, "L", "R"),
    Plane("axial", 2, "L", "R"),
)


def draw(segmentation: BrainSegmentation, *, title: str = "") -> Figure:
    """Slices with tissue contours, labels, the histogram with the fitted classes, the bias field.

    Parameters
    ----------
    segmentation : BrainSegmentation
    title : str
        Name of the scan.

    Returns
    -------
    matplotlib Figure, 1600 pixels wide
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    head = _Head(segmentation)
    shapes = [min(2.0, max(0.5, head.height_per_width(plane))) for plane in PLANES]
    top, middle, bottom = 0.9, sum(shapes) * WIDTH / N_SLICES, 5.0  # inches
    height = top + middle + bottom
    figure = Figure(figsize=(WIDTH, height), dpi=100, facecolor="white")
    FigureCanvasAgg(figure)
    slices = figure.add_gridspec(
        3, 1, left=0.005, right=0.995, top=1 - top / height, bottom=bottom / height,
        hspace=0.02, height_ratios=shapes,
    )  # fmt: skip
    for row, plane in enumerate(PLANES):
        head.show_row(figure.add_subplot(slices[row]), plane, head.cuts(plane, N_SLICES))
    below = figure.add_gridspec(
        2, 3, left=0.03, right=0.99, top=(bottom - 0.5) / height, bottom=0.6 / height,
        wspace=0.03, hspace=0.18, width_ratios=(2.6, 3.1, 1.6),
    )  # fmt: skip
    draw_histogram(figure.add_subplot(below[:, 0]), segmentation)
    upper, lower = (figure.add_subplot(below[row, 1]) for row in (0, 1))
    head.show_labels(upper)
    upper.set_title("labels", fontsize=11)
    field = head.show_bias(lower)
    lower.set_title("bias field that was taken off", fontsize=11)
    side = figure.add_subplot(below[:, 2])
    bar = side.inset_axes((0.03, 0.02, 0.05, 0.4))
    figure.colorbar(field, cax=bar).ax.tick_params(labelsize=9)
    _write_notes(side, segmentation)
    _write_heading(figure, segmentation, title)
    letter(figure)
    return figure


def save(figure: Figure, path: Path) -> None:
    """Write a figure as PNG, fast rather than small."""
    figure.savefig(path, format="png", pil_kwargs={"compress_level": 1})


def outlined(names: Sequence[str]) -> list[str]:
    """Classes in the order in which they are added up to outlines, from the inside out.

    >>> outlined(["GM", "WM", "CSF"])
    ['WM', 'GM', 'CSF']
    """
    inner, outer = ("WM", "SGM", "BS", "CBM"), ("GM", "CGM", "CSF")
    within = [name for name in inner if name in names]
    without = [name for name in outer if name in names]
    return [*within, *(n for n in names if n not in (*inner, *outer)), *without]


class _Head:
    """Arrays of a segmentation in RAS+ order, cut to the brain and a margin."""

    def __init__(self, segmentation: BrainSegmentation) -> None:
        self.affine = volumes.canonical_affine(segmentation.volume)
        self.spacing = voxel_sizes(self.affine)

        def turned(array: np.ndarray) -> np.ndarray:
            return volumes.turn(array, segmentation.volume)

        mask = turned(segmentation.mask)
        self.box = box_of(mask, [round(MARGIN_MM / edge) for edge in self.spacing])
        self.mask = mask[self.box]
        self.scan = turned(segmentation.corrected)[self.box]
        self.bias = turned(segmentation.bias)[self.box]
        self.labels = turned(segmentation.labels)[self.box]
        self.posteriors = turned(segmentation.posteriors)[self.box]
        self.names, self.colours = segmentation.names, colours(segmentation.names)
        inside = some_finite(self.scan[self.mask], N_SHADES)
        low = min(0.0, float(inside.min()))
        self.window = (low, low + 1.1 * (float(np.percentile(inside, 99.5)) - low))

    def cuts(self, plane: Plane, count: int) -> list[int]:
        """Indices of slices spread evenly over the brain."""
        present = np.flatnonzero(self.mask.any(axis=tuple({0, 1, 2} - {plane.axis})))
        at = np.linspace(0.12, 0.88, count)
        return [round(present[0] + f * (present[-1] - present[0])) for f in at]

    def position(self, plane: Plane, index: int) -> float:
        """World coordinate in mm of the middle of a slice, across it."""
        voxel = [(cut.start + cut.stop - 1) / 2 for cut in self.box]
        voxel[plane.axis] = self.box[plane.axis].start + index
        return float((self.affine @ [*voxel, 1])[plane.axis])

    def height_per_width(self, plane: Plane) -> float:
        """Shape of the slices of a plane, in mm."""
        width, height = np.delete(self.scan.shape * self.spacing, plane.axis)
        return float(height / width)

    def abreast(self) -> Iterator[tuple[Plane, int, tuple[float, float, float, float]]]:
        """A slice through the middle of each plane, and its frame in mm beside those before."""
        left = 0.0
        for plane in PLANES:
            width, height = np.delete(self.scan.shape * self.spacing, plane.axis)
            yield plane, self.cuts(plane, 3)[1], (left, left + width, 0.0, height)
            left += width + GAP_MM

    def show_row(self, ax: Axes, plane: Plane, indices: Sequence[int]) -> None:
        """Slices side by side with their contours, and the patient's sides at the ends of the row.

        One axes for all takes a third of the time, and so do sides that are not at every slice.
        """
        low, high = self.window
        across = np.delete(self.spacing, plane.axis)  # mm
        row, starts = self.in_row(self.scan, plane, indices)
        size = np.array(row.shape[::-1]) * across
        extent = (0.0, size[0], 0.0, size[1])
        ax.imshow(row, cmap="gray", vmin=low, vmax=high, origin="lower", extent=extent)
        self._outline(ax, plane, indices)
        for start, index in zip(starts * across[0], indices, strict=True):
            text = f"{'xyz'[plane.axis]} = {self.position(plane, index):.0f} mm"
            ax.text(start + 0.003 * size[0], 0.02 * size[1], text, **SIGN)
        ax.text(0.003 * size[0], 0.5 * size[1], plane.low, va="center", **SIGN)
        ax.text(0.997 * size[0], 0.5 * size[1], plane.high, va="center", ha="right", **SIGN)
        ax.set_axis_off()

    def in_row(
        self, array: np.ndarray, plane: Plane, indices: Sequence[int]
    ) -> tuple[np.ndarray, np.ndarray]:
        """Slices side by side, NaN between them, and the column at which each starts."""
        cuts = [_slice(array, plane, index) for index in indices]
        height, width = cuts[0].shape
        starts = np.arange(len(cuts)) * (width + max(1, round(0.02 * width)))
        row = np.full((height, starts[-1] + width), np.nan, np.float32)
        for start, cut in zip(starts, cuts, strict=True):
            row[:, start : start + width] = cut
        return row, starts

    def _outline(self, ax: Axes, plane: Plane, indices: Sequence[int]) -> None:
        """Where WM, then WM and GM, then the whole brain has a probability of one half."""
        from contourpy import contour_generator
        from matplotlib.collections import LineCollection

        across = np.delete(self.spacing, plane.axis)  # mm
        total: Any = 0.0
        for name in outlined(self.names):
            k = self.names.index(name)
            total = total + self.in_row(self.posteriors[..., k], plane, indices)[0]
            if np.nanmin(total) < 0.5 < np.nanmax(total):
                # ax.contour does the same in three times the time
                y, x = (
                    (np.arange(n) + 0.5) * s for n, s in zip(total.shape, across[::-1], strict=True)
                )
                drawer: Any = contour_generator(x=x, y=y, z=total, line_type="Separate")
                lines = LineCollection(drawer.lines(0.5), colors=self.colours[k], linewidths=0.8)
                ax.add_collection(lines, autolim=False)

    def show_labels(self, ax: Axes) -> None:
        """Labels in their colours over the corrected scan in grey."""
        from matplotlib.colors import to_rgba

        low, high = self.window
        palette = np.array([(0, 0, 0, 0), *(to_rgba(colour, 0.75) for colour in self.colours)])
        for plane, index, frame in self.abreast():
            grey, labels = (_slice(array, plane, index) for array in (self.scan, self.labels))
            place: dict[str, Any] = {"origin": "lower", "extent": frame}
            ax.imshow(grey, cmap="gray", vmin=low, vmax=high, **place)
            ax.imshow(palette[labels], interpolation="nearest", **place)
        _show_all(ax)

    def show_bias(self, ax: Axes) -> Any:
        """Bias field around one, outlined by the brain; returns what a colour bar needs."""
        limit = max(0.05, float(np.nanmax(np.abs(self.bias[self.mask] - 1.0))))
        for plane, index, frame in self.abreast():
            mask, bias = (_slice(array, plane, index) for array in (self.mask, self.bias))
            scale: dict[str, Any] = {"cmap": "RdBu_r", "vmin": 1 - limit, "vmax": 1 + limit}
            shown = np.where(mask, bias, np.nan)
            picture = ax.imshow(shown, origin="lower", extent=frame, **scale)
        _show_all(ax)
        return picture


def _show_all(ax: Axes) -> None:
    """Pictures side by side, on one scale, without axes around them."""
    frames = np.array([image.get_extent() for image in ax.images])
    ax.set(xlim=(0.0, frames[:, 1].max()), ylim=(0.0, frames[:, 3].max()))
    ax.set_axis_off()


def _slice(array: np.ndarray, plane: Plane, index: int) -> np.ndarray:
    """One slice, the second of its axes upwards."""
    return array[(slice(None),) * plane.axis + (index,)].T


def _write_notes(ax: Axes, segmentation: BrainSegmentation) -> None:
    """Volumes and warnings, in the upper part of the axes."""
    ax.set_axis_off()
    summed = "probabilities" if segmentation.fractions is None else "fractions"  # nearer the truth
    lines = [f"         labels  {summed}"]
    lines += [
        f"{row.name:6s} {row.from_labels:7.1f} {getattr(row, 'from_' + summed):9.1f}  mL"
        for row in segmentation.volumes_ml()
    ]
    for warning in segmentation.warnings:
        lines += ["", *textwrap.wrap("! " + warning, 34)]
    if len(lines) > N_NOTES:
        lines[N_NOTES - 1 :] = ["… more in the provenance file"]
    ax.text(0.03, 1.0, "\n".join(lines), family="monospace", fontsize=9, va="top")


def _write_heading(figure: Figure, segmentation: BrainSegmentation, title: str) -> None:
    from matplotlib.lines import Line2D

    inch = 1 / figure.get_figheight()
    figure.text(0.01, 1 - 0.32 * inch, title, fontsize=16, weight="bold", va="center")
    shape = "x".join(map(str, segmentation.volume.shape))
    size = " x ".join(f"{edge:.3g}" for edge in voxel_sizes(segmentation.volume.affine))
    about = f"{shape} voxels of {size} mm · bias-corrected scan · right of the patient at the right"
    figure.text(0.01, 1 - 0.67 * inch, about, fontsize=11, color="0.3", va="center")
    shades = dict(zip(segmentation.names, colours(segmentation.names), strict=True))
    meanings = {"WM": "WM", "GM": "GM (and WM inside it)", "CSF": "brain with CSF"}
    shown = outlined(segmentation.names)
    handles = [Line2D([], [], color=shades[name], lw=2) for name in shown]
    figure.legend(
        handles,
        [f"outline of {meanings.get(name, name + ' and those before')}" for name in shown],
        loc="upper right",
        bbox_to_anchor=(0.995, 1 - 0.1 * inch),
        ncols=3,
        fontsize=11,
        frameon=False,
    )
