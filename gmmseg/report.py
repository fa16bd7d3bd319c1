"""The picture of one segmentation: enough to see whether to trust it."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from gmmseg import volume as volumes
from gmmseg.bins import bin_edges
from gmmseg.labels import colours
from gmmseg.spatial.boxes import box_of
from gmmseg.volume import voxel_sizes

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from gmmseg.tissues import BrainSegmentation

WIDTH = 16.0  # of the figure, inches
N_SLICES = 7
N_SHADES = 100_000  # voxels of the brain that say what is black and what is white
MARGIN_MM = 12.0  # of head shown around the brain, to see what was left out
MIXED = "#7a5195"  # components between two tissues, or of a part of one


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
        2, 5, left=0.03, right=0.99, top=(bottom - 0.5) / height, bottom=0.6 / height,
        wspace=0.03, hspace=0.18, width_ratios=(2.6, 1, 1, 1, 1.6),
    )  # fmt: skip
    draw_histogram(figure.add_subplot(below[:, 0]), segmentation)
    limit = head.bias_limit()
    for column, plane in enumerate(PLANES, start=1):
        index = head.cuts(plane, 3)[1]
        upper, lower = (figure.add_subplot(below[row, column]) for row in (0, 1))
        head.show_scan(upper, plane, index)
        head.show_labels(upper, plane, index)
        field = head.show_bias(lower, plane, index, limit)
        if plane.name == "coronal":
            upper.set_title("labels", fontsize=11)
            lower.set_title("bias field (scan = bias x corrected scan)", fontsize=11)
    side = figure.add_subplot(below[:, 4])
    bar = side.inset_axes((0.03, 0.02, 0.05, 0.4))
    figure.colorbar(field, cax=bar).ax.tick_params(labelsize=9)
    _write_notes(side, segmentation)
    _write_heading(figure, segmentation, title)
    return figure


def save(figure: Figure, path: Path) -> None:
    """Write a figure as PNG, fast rather than small."""
    figure.savefig(path, format="png", pil_kwargs={"compress_level": 1})


def draw_histogram(ax: Axes, segmentation: BrainSegmentation) -> None:
    """Intensities of the corrected brain with the fitted classes and their sum drawn over them."""
    inside = segmentation.corrected[segmentation.mask]
    inside = inside[np.isfinite(inside)]
    low, high = np.percentile(inside, (0.1, 99.9))
    edges = bin_edges(inside[(inside >= low) & (inside <= high)], 160)
    counts, _ = np.histogram(inside, len(edges) - 1, (edges[0], edges[-1]))
    density = counts / (inside.size * np.diff(edges))
    ax.stairs(density, edges, fill=True, color="0.85", label="brain voxels")
    centres = (edges[:-1] + edges[1:]) / 2
    curves = class_densities(segmentation, centres)
    shades = dict(zip(segmentation.names, colours(segmentation.names), strict=True))
    rest: str | None = "parts of these"
    for name, curve in curves.items():
        if name in shades:
            ax.plot(centres, curve, color=shades[name], lw=2, label=name)
        else:
            ax.plot(centres, curve, color=MIXED, lw=1.2, ls=":", label=rest)
            rest = None  # one entry for all, or the legend covers the curves
    total = np.sum(list(curves.values()), axis=0)
    ax.plot(centres, total, color="black", lw=1.2, ls="--", label="sum of classes")
    ax.set(xlim=(edges[0], edges[-1]), ylim=(0, 1.15 * max(density.max(), total.max())), yticks=[])
    ax.set_xlabel("bias-corrected intensity")
    ax.set_title("histogram of the brain and fitted classes", fontsize=11)
    ax.spines[["top", "right", "left"]].set_visible(False)
    ax.legend(fontsize=9, frameon=False)


def class_densities(
    segmentation: BrainSegmentation, intensities: np.ndarray
) -> dict[str, np.ndarray]:
    """Density of each class in the brain; together they integrate to one.

    Parameters
    ----------
    segmentation : BrainSegmentation
        Components of classes outside the brain (skull, scalp) are left out, and the weights of
        the others made to sum to one.
    intensities : (N,) ndarray
        Image units.

    Returns
    -------
    dict from class name to (N,) ndarray, in 1 / image unit; tissues first, mixed classes after
    """
    mixture, names = segmentation.mixture, segmentation.component_names
    tissues = set(segmentation.names)
    # "GM/WM" and "deep GM" are of the brain as well
    inside = [
        k
        for k, name in enumerate(names)
        if {part.split()[-1] for part in name.split("/")} <= tissues
    ]
    inside.sort(key=lambda k: names[k] not in tissues)
    total = mixture.weights[inside].sum()
    curves: dict[str, np.ndarray] = {}
    for k in inside:
        mean, variance = mixture.means[k, 0], mixture.covariances[k, 0, 0]
        curve = np.exp(-((intensities - mean) ** 2) / (2 * variance))
        curve *= mixture.weights[k] / total / np.sqrt(2 * np.pi * variance)
        curves[names[k]] = curves.get(names[k], 0.0) + curve
    return curves


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
        inside = self.scan[self.mask]
        inside = inside[:: max(1, len(inside) // N_SHADES)]
        inside = inside[np.isfinite(inside)]
        self.window = (min(0.0, float(inside.min())), 1.1 * float(np.percentile(inside, 99.5)))

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

    def frame(self, plane: Plane) -> dict[str, Any]:
        """Origin and extent in mm, so that voxels have their true shape."""
        size = np.delete(self.scan.shape * self.spacing, plane.axis)
        return {"origin": "lower", "extent": (0.0, size[0], 0.0, size[1])}

    def show_scan(self, ax: Axes, plane: Plane, index: int) -> None:
        """Corrected scan in grey."""
        low, high = self.window
        picture = _slice(self.scan, plane, index)
        ax.imshow(picture, cmap="gray", vmin=low, vmax=high, **self.frame(plane))
        ax.set_axis_off()

    def show_row(self, ax: Axes, plane: Plane, indices: Sequence[int]) -> None:
        """Slices side by side with their contours; one axes for all takes a third of the time."""
        low, high = self.window
        across = np.delete(self.spacing, plane.axis)  # mm
        cuts = [_slice(self.scan, plane, index) for index in indices]
        height, width = cuts[0].shape
        gap = max(1, round(0.02 * width))  # voxels
        row = np.full((height, len(cuts) * (width + gap) - gap), np.nan, np.float32)
        for column, cut in enumerate(cuts):
            left = column * (width + gap)
            row[:, left : left + width] = cut
            self._outline(ax, plane, indices[column], left * across[0])
            corners = np.array([left, left + width]) * across[0], height * across[1]
            text = f"{'xyz'[plane.axis]} = {self.position(plane, indices[column]):.0f} mm"
            _sign(ax, text, plane, *corners)
        size = np.array(row.shape[::-1]) * across
        extent = (0.0, size[0], 0.0, size[1])
        ax.imshow(row, cmap="gray", vmin=low, vmax=high, origin="lower", extent=extent)
        ax.set_axis_off()

    def _outline(self, ax: Axes, plane: Plane, index: int, left: float) -> None:
        """Where WM, then WM and GM, then the whole brain has a probability of one half."""
        from contourpy import contour_generator
        from matplotlib.collections import LineCollection

        edges = [
            (np.arange(n) + 0.5) * s for n, s in zip(self.scan.shape, self.spacing, strict=True)
        ]
        x, y = (edge for axis, edge in enumerate(edges) if axis != plane.axis)
        total: Any = 0.0
        for name in outlined(self.names):
            k = self.names.index(name)
            total = total + _slice(self.posteriors[..., k], plane, index)
            if total.min() < 0.5 < total.max():
                # ax.contour does the same in three times the time
                drawer: Any = contour_generator(x=x + left, y=y, z=total, line_type="Separate")
                ax.add_collection(
                    LineCollection(drawer.lines(0.5), colors=self.colours[k], linewidths=0.8),
                    autolim=False,
                )

    def show_labels(self, ax: Axes, plane: Plane, index: int) -> None:
        """Labels in their colours over what is already drawn."""
        from matplotlib.colors import to_rgba

        palette = np.array([(0, 0, 0, 0), *(to_rgba(colour, 0.75) for colour in self.colours)])
        picture = palette[_slice(self.labels, plane, index)]
        ax.imshow(picture, interpolation="nearest", **self.frame(plane))
        ax.set_axis_off()

    def bias_limit(self) -> float:
        """Largest departure from one in the brain, at least 0.05."""
        return max(0.05, float(np.nanmax(np.abs(self.bias[self.mask] - 1.0))))

    def show_bias(self, ax: Axes, plane: Plane, index: int, limit: float) -> Any:
        """Bias field around one, outlined by the brain; returns what a colour bar needs."""
        picture = np.where(_slice(self.mask, plane, index), _slice(self.bias, plane, index), np.nan)
        low, high = 1 - limit, 1 + limit
        ax.set_axis_off()
        return ax.imshow(picture, cmap="RdBu_r", vmin=low, vmax=high, **self.frame(plane))


def _slice(array: np.ndarray, plane: Plane, index: int) -> np.ndarray:
    """One slice, the second of its axes upwards."""
    return array[(slice(None),) * plane.axis + (index,)].T


def _sign(ax: Axes, text: str, plane: Plane, sides: np.ndarray, height: float) -> None:
    """Name a slice between two ``sides`` and the patient's own sides in it; mm."""
    shade = {"facecolor": "black", "alpha": 0.6, "edgecolor": "none", "pad": 1.5}
    style: dict[str, Any] = {"color": "white", "fontsize": 9, "bbox": shade}
    left, right = sides + 0.02 * np.ptp(sides) * np.array([1, -1])
    ax.text(left, 0.02 * height, text, **style)
    ax.text(left, 0.5 * height, plane.low, va="center", **style)
    ax.text(right, 0.5 * height, plane.high, va="center", ha="right", **style)


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
    ax.text(0.03, 1.0, "\n".join(lines[:16]), family="monospace", fontsize=9, va="top")


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
