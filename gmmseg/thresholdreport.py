"""The picture of thresholded images: what was found, a detail of it, the histogram and its cuts."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from gmmseg.histogrampicture import draw_histogram
from gmmseg.intensities import IntensitySegmentation
from gmmseg.lettering import letter
from gmmseg.raster.image import Raster
from gmmseg.thresholdcolours import shades

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from gmmseg.thresholdimage import Part

WIDTH = 15.0  # of the figure, inches
_DPI = 100
_DETAIL = 128  # pixels along the longer side of the detail
_OPACITY = 0.45  # of labels over the image
_WIDE = 1.7  # width over height from which image and labels go one below the other


def draw(parts: Sequence[Part], raster: Raster, *, title: str = "") -> Figure:
    """Image, labels over it, a detail, the histogram with its classes and cuts, and notes.

    Of a stack the plane in the middle is shown; of several parts, such as slices with thresholds
    of their own, the middle one.

    Parameters
    ----------
    parts : sequence of Part
    raster : Raster
        For the name of the kind and the size.
    title : str

    Returns
    -------
    matplotlib Figure, 1500 pixels wide
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    part = parts[len(parts) // 2]
    view = _View(part, raster)
    stacked = view.shape[1] > _WIDE * view.shape[0]
    across = WIDTH - 0.4 if stacked else (WIDTH - 0.6) / 2
    panel = min(across * view.shape[0] / view.shape[1] + 0.3, 8.0)
    top, bottom = panel * (2 if stacked else 1), 3.9
    height = 0.75 + top + bottom + 0.25
    figure = Figure(figsize=(WIDTH, height), dpi=_DPI, facecolor="white")
    FigureCanvasAgg(figure)
    upper = figure.add_gridspec(
        2 if stacked else 1, 1 if stacked else 2, left=0.013, right=0.987,
        top=1 - 1.0 / height, bottom=(bottom + 0.25) / height, wspace=0.02, hspace=0.08,
    )  # fmt: skip
    panels = [figure.add_subplot(upper[n]) for n in (0, 1)]
    view.show_image(panels[0])
    view.show_labels(panels[1])
    field = view.field()
    widths = (1.1, *((1.1,) if field is not None else ()), 2.1, 1.1)
    lower = figure.add_gridspec(
        1, len(widths), left=0.013, right=0.987, top=(bottom - 0.2) / height, bottom=0.55 / height,
        width_ratios=widths, wspace=0.08,
    )  # fmt: skip
    cells = [figure.add_subplot(lower[n]) for n in range(len(widths))]
    view.show_detail(cells[0])
    if field is not None:
        _show_field(cells[1], *field)
    draw_histogram(cells[-2], part)
    _write_notes(cells[-1], part)
    _write_heading(figure, part, raster, view, title, len(parts))
    letter(figure)
    return figure


def save(figure: Figure, path: Path) -> None:
    """Write a figure as PNG, fast rather than small."""
    figure.savefig(path, format="png", pil_kwargs={"compress_level": 1})


class _View:
    """One plane of an image, as large as the picture has room for."""

    def __init__(self, part: Part, raster: Raster) -> None:
        grid = part.result.labels.shape
        self.at = tuple(n // 2 for n in grid[:-2])
        # Rows of scans count upwards, those of all others downwards.
        self.upwards = raster.kind == "nifti"
        self.plane = np.asarray(self._turned(part.image), np.float32)
        self.labels = self._turned(part.result.labels)
        mask = part.result.mask
        self.mask = None if mask is None else self._turned(mask)
        self.result = part.result
        self.colours = shades(part.result.n_classes)
        self.first = 0 if part.result.n_classes == 2 else 1  # label of the first class
        self.step = max(1, -(-max(self.plane.shape) // int(WIDTH * _DPI)))
        tall, wide = self.plane.shape[0] // self.step, self.plane.shape[1] // self.step
        self.shape = (max(1, tall), max(1, wide))
        self.window = _window(self.plane, self.mask)

    def _turned(self, array: np.ndarray) -> np.ndarray:
        """The plane shown of an array, with the first row at the top."""
        plane = array[self.at]
        return plane[::-1] if self.upwards else plane

    def _small(self, plane: np.ndarray) -> np.ndarray:
        """Means of blocks, for a plane that is too large to be shown."""
        s, (rows, columns) = self.step, self.shape
        if s == 1:
            return plane.astype(np.float32)
        cut = plane[: rows * s, : columns * s].astype(np.float32)
        if cut.shape != (rows * s, columns * s):
            return plane[::s, ::s].astype(np.float32)
        return np.asarray(cut.reshape(rows, s, columns, s).mean(axis=(1, 3)))

    def show_image(self, ax: Axes) -> None:
        """The plane in grey."""
        low, high = self.window
        ax.imshow(self._small(self.plane), cmap="gray", vmin=low, vmax=high)
        _named(ax, "image")

    def show_labels(self, ax: Axes) -> None:
        """Colours over the grey image, mixed by how many pixels of a block have the label."""
        ax.imshow(self._overlay(self._small(self.plane), [
            self._small(self.labels == self.first + k) for k in self.marked()
        ]))  # fmt: skip
        if self.mask is not None and not self.mask.all():
            outside = np.zeros((*self.shape, 4), np.float32)
            outside[..., 3] = 0.55 * self._small(~self.mask)[: self.shape[0], : self.shape[1]]
            ax.imshow(outside)
        _named(ax, "labels" if self.mask is None else "labels; outside of the mask darkened")

    def show_detail(self, ax: Axes) -> None:
        """A piece at full resolution, with the outlines of the labels."""
        from matplotlib.collections import LineCollection

        rows, columns = self._interesting()
        low, high = self.window
        ax.imshow(self.plane[rows, columns], cmap="gray", vmin=low, vmax=high,
                  extent=(columns.start, columns.stop, rows.stop, rows.start))  # fmt: skip
        piece = np.pad(self.labels[rows, columns], 1, mode="edge")
        for k in self.marked():
            lines = _borders(piece == self.first + k, rows.start, columns.start)
            ax.add_collection(
                LineCollection(lines, colors=self.colours[k], linewidths=1.3), autolim=False
            )
        where = f": rows {rows.start}–{rows.stop}, columns {columns.start}–{columns.stop}"
        _named(ax, "detail" + ("" if self.upwards else where))

    def field(self) -> tuple[np.ndarray, str] | None:
        """Light or threshold surface, and its title."""
        result = self.result
        if result.gain is not None:
            light = self._small(1 / self._turned(result.gain))
            return light, "light (image = light x even image)"
        if result.threshold_surface is not None:
            return self._small(self._turned(result.threshold_surface)), "threshold at each pixel"
        return None

    def marked(self) -> list[int]:
        """Classes that are coloured: not the background of two."""
        k = self.result.n_classes
        return [] if k == 1 else [1] if k == 2 else list(range(k))

    def _overlay(self, grey: np.ndarray, shares: Sequence[np.ndarray]) -> np.ndarray:
        from matplotlib.colors import to_rgb

        low, high = self.window
        grey = np.clip((grey - low) / (high - low), 0, 1)
        picture = np.nan_to_num(np.repeat(grey[..., None], 3, axis=-1))
        for k, share in zip(self.marked(), shares, strict=True):
            alpha = (_OPACITY + 0.25 * (self.result.n_classes == 2)) * share[..., None]
            picture = (1 - alpha) * picture + alpha * np.array(to_rgb(self.colours[k]))
        return picture

    def _interesting(self) -> tuple[slice, slice]:
        """The square with the middling number of borders among those that have any."""
        tall, wide = self.plane.shape
        side_y, side_x = min(_DETAIL, tall), min(_DETAIL, wide)
        edges = np.zeros(self.plane.shape, bool)
        edges[:, 1:] |= self.labels[:, 1:] != self.labels[:, :-1]
        edges[1:] |= self.labels[1:] != self.labels[:-1]
        corners = [
            (y, x)
            for y in range(0, tall - side_y + 1, max(1, side_y // 2))
            for x in range(0, wide - side_x + 1, max(1, side_x // 2))
        ]
        borders = [np.count_nonzero(edges[y : y + side_y, x : x + side_x]) for y, x in corners]
        most = max(borders)
        some = [n for n in borders if n > 0.25 * most]
        at = borders.index(sorted(some)[int(0.75 * len(some))]) if some else len(corners) // 2
        y, x = corners[at]
        return slice(y, y + side_y), slice(x, x + side_x)


def _window(plane: np.ndarray, mask: np.ndarray | None) -> tuple[float, float]:
    """Intensities shown as black and white."""
    known = plane if mask is None or not mask.any() else plane[mask]
    known = known[np.isfinite(known)]
    if not known.size:
        return 0.0, 1.0
    low, high = np.percentile(known[:: max(1, known.size // 200_000)], (0.2, 99.8))
    return float(low), float(high if high > low else low + 1)


def _borders(there: np.ndarray, top: int, left: int) -> list[Any]:
    """Sides of pixels that part a padded region from the rest, as ((x, y), (x, y)), in pixels."""
    lines: list[Any] = []
    y, x = np.nonzero(there[1:-1, :-1] != there[1:-1, 1:])
    lines += [((c + left, r + top), (c + left, r + top + 1)) for r, c in zip(y, x, strict=True)]
    y, x = np.nonzero(there[:-1, 1:-1] != there[1:, 1:-1])
    lines += [((c + left, r + top), (c + left + 1, r + top)) for r, c in zip(y, x, strict=True)]
    return lines


def _show_field(ax: Axes, field: np.ndarray, title: str) -> None:
    shown = ax.imshow(field, cmap="cividis")
    bar = ax.figure.colorbar(shown, ax=ax, orientation="horizontal", fraction=0.06, pad=0.03)
    bar.ax.tick_params(labelsize=8)
    _named(ax, title)


def _named(ax: Axes, title: str) -> None:
    ax.set_title(title, fontsize=10, loc="left")
    ax.set_xticks([])
    ax.set_yticks([])
    for spine in ax.spines.values():
        spine.set_color("0.7")


def _write_notes(ax: Axes, part: Part) -> None:
    """Numbers of the classes, what was decided, warnings."""
    ax.set_axis_off()
    result = part.result
    lines = ["class        share     mean"]
    for name, share, mean in zip(result.names, result.fractions, result.class_means, strict=True):
        lines.append(f"{name:10s} {share:7.2%} {mean:8.4g}")
    if len(result.thresholds):
        lines += ["", "threshold " + ", ".join(f"{t:.5g}" for t in result.thresholds)]
    if part.band is not None:
        band = part.band
        for low, high, most, least in zip(
            band.low, band.high, band.above_low, band.above_high, strict=True
        ):
            lines.append(f"  {band.level:.0%} band {low:.4g} to {high:.4g}:")
            lines.append(f"  {least:.2%} to {most:.2%} brighter")
    if result.fit is not None and not result.one_class:
        nearest = result.fit.separation.min()
        lines.append(f"separation {nearest:.2f}, misfit {result.fit.misfit:.3f}")
    if result.threshold_surface is not None:
        lines.append("threshold of the whole; labels follow the surface")
    lines += _settings(result)
    lines = [textwrap.fill(text, 40, subsequent_indent="  ") for text in lines]
    ax.text(0, 1, "\n".join(lines), family="monospace", fontsize=8.5, va="top")
    warned = [w for text in result.warnings for w in textwrap.wrap("! " + text, 40)]
    ax.text(0, 0, "\n".join(warned[:6]), fontsize=9.5, va="bottom", color="#a03000", weight="bold")


def _settings(result: IntensitySegmentation) -> list[str]:
    s = result.settings
    lines = []
    if "scale" in result.decisions:
        lines.append(f"scale {result.decisions['scale']}")
    if s.smooth:
        lines.append(f"smoothed, {s.smooth:g} nats a neighbour")
    if s.illumination == "auto":
        kept = result.gain is not None or bool(result.decisions.get("illumination"))
        lines.append(f"uneven light {'taken out' if kept else 'not found'}")
    return lines


def _write_heading(
    figure: Figure, part: Part, raster: Raster, view: _View, title: str, n_parts: int
) -> None:
    from matplotlib.patches import Patch

    inch = 1 / figure.get_figheight()
    figure.text(0.013, 1 - 0.3 * inch, title, fontsize=15, weight="bold", va="center")
    size = " x ".join(map(str, raster.grid))
    places = zip(raster.site_axes, (*part.at, *view.at), strict=False)
    shown = [f"{axis.lower()} {n}" for axis, n in places]
    about = [f"{size} {'pixels' if len(raster.grid) == 2 else 'voxels'}"]
    if shown:
        about.append(f"shown: {', '.join(shown)}")
    if n_parts > 1:
        about.append(f"{n_parts} parts with thresholds of their own")
    figure.text(0.013, 1 - 0.62 * inch, " · ".join(about), fontsize=10, color="0.3", va="center")
    names = part.result.names
    handles = [Patch(color=view.colours[k], label=names[k]) for k in view.marked()]
    if handles:
        figure.legend(handles=handles, loc="upper right", bbox_to_anchor=(0.992, 1 - 0.12 * inch),
                      ncols=len(handles), fontsize=10, frameon=False)  # fmt: skip
