"""The histogram of an image with the classes fitted to it and where they part."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from gmmseg.mixture.classes import ClassFit, Scale
from gmmseg.mixture.ordered import OUTLIERS
from gmmseg.thresholdcolours import shades

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from gmmseg.intensities import IntensitySegmentation
    from gmmseg.thresholdimage import Part

_BINS = 160
_SAMPLES = 4_000_000  # pixels that the histogram is made of, at most
_DECADES = 30.0  # highest bin over the lowest class's peak, from which counts are logarithmic


def draw_histogram(ax: Axes, part: Part) -> None:
    """Draw it; the axis of intensities is that on which the classes are Gaussian.

    Parameters
    ----------
    ax : matplotlib Axes
    part : Part
    """
    result = part.result
    values, owners = _values(part)
    fit = None if result.fit is None else result.fit.fit
    scale = fit.scale if isinstance(fit, ClassFit) else Scale()
    edges = _edges(values, scale)
    at = scale.forward(edges)
    widths = np.diff(at)
    unit = float(np.median(widths))
    share = np.histogram(values, edges)[0] / values.size / widths * unit
    ax.stairs(share, at, fill=True, color="0.82")
    colours = shades(result.n_classes)
    curves = _curves(result, at)
    middle = 0.5 * (at[1:] + at[:-1])
    peaks = [curve.max() * unit for _, curve in curves]
    if curves:
        for k, (name, curve) in enumerate(curves):
            own = _owner(k, len(curves), result)
            colour = "0.45" if own is None else colours[own]
            ax.plot(middle, curve * unit, color=colour, lw=2, label=name)
        if len(curves) > 1:
            total = np.sum([curve for _, curve in curves], axis=0)
            ax.plot(middle, total * unit, color="black", lw=1, ls="--", label="sum")
    else:
        for k, name in enumerate(result.names):
            own_share = np.histogram(values[owners == k], edges)[0] / values.size / widths * unit
            ax.stairs(own_share, at, color=colours[k], lw=1.8, label=name)
            peaks.append(float(own_share.max()))
    _mark_cuts(ax, part, scale)
    floor = 0.3 / values.size
    peaks = [peak for peak in peaks if peak > floor]
    if share.max() > _DECADES * min(peaks, default=share.max()):
        ax.set_yscale("log")
        ax.set_ylim(max(floor, 0.3 * share[share > 0].min()), 3 * share.max())
        ax.set_ylabel("share of the pixels, logarithmic", fontsize=9)
    else:
        ax.set_ylim(0, 1.12 * max(share.max(), *peaks) if peaks else 1.12 * share.max())
        ax.set_ylabel("share of the pixels", fontsize=9)
    ax.set_yticks([], minor=False)
    ax.set_yticks([], minor=True)
    ax.set_xlim(at[0], at[-1])
    _tick(ax, edges, scale)
    even = " (evened)" if result.gain is not None else ""
    ax.set_xlabel(f"intensity{even}", fontsize=9)
    ax.spines[["top", "right"]].set_visible(False)
    ax.set_title("histogram", fontsize=10, loc="left")
    ax.legend(
        fontsize=8, frameon=False, loc="lower right", bbox_to_anchor=(1.01, 0.985), ncols=6,
        columnspacing=1.0, handlelength=1.4, handletextpad=0.4, borderaxespad=0.2,
    )  # fmt: skip


def _values(part: Part) -> tuple[np.ndarray, np.ndarray]:
    """Intensities that the classes were fitted to, thinned out, and the class of each."""
    from gmmseg.thresholdimage import even_image

    result = part.result
    image = even_image(part.image, result).ravel()
    owner = result.labels.ravel().astype(np.int64) - (0 if result.n_classes <= 2 else 1)
    if result.mask is not None:
        image, owner = image[result.mask.ravel()], owner[result.mask.ravel()]
    step = max(1, image.size // _SAMPLES)
    return image[::step].astype(np.float64), owner[::step]


def _edges(values: np.ndarray, scale: Scale) -> np.ndarray:
    """Edges of about equal bins on the scale, between whole numbers where values are whole."""
    low, high = float(values.min()), float(values.max())
    if low == high:
        return np.linspace(low - 1, low + 1, 12)
    # A few odd pixels must not press the rest together.
    low_q, high_q = np.quantile(values, (0.0005, 0.9995))
    spread = high_q - low_q
    if spread > 0:
        low, high = max(low, low_q - 0.5 * spread), min(high, high_q + 0.5 * spread)
    if not np.array_equal(values, np.rint(values)):
        first, last = scale.forward(np.array([low, high]))
        return np.unique(scale.backward(np.linspace(first, last, _BINS + 1)))
    there = np.unique(values)
    there = there[(there >= low) & (there <= high)]
    # Midway between values that occur: a camera that leaves some out makes no comb.
    sides = np.concatenate([[there[0] - 0.5], 0.5 * (there[1:] + there[:-1]), [there[-1] + 0.5]])
    places = scale.forward(sides)
    kept = [0]
    for n in range(1, len(sides)):
        if places[n] - places[kept[-1]] >= 0.999 * (places[-1] - places[0]) / _BINS:
            kept.append(n)
    kept[-1] = len(sides) - 1
    return sides[kept] if len(kept) > 2 else sides[[0, max(1, len(sides) // 2), -1]]


def _curves(result: IntensitySegmentation, at: np.ndarray) -> list[tuple[str, np.ndarray]]:
    """Density of each component per unit of the scale, with its name; none for many channels."""
    middle = 0.5 * (at[1:] + at[:-1])
    fit = None if result.fit is None else result.fit.fit
    if fit is not None and not isinstance(fit, ClassFit):
        joint = np.exp(fit.log_joint(middle))
        rising = np.argsort(fit.means, kind="stable")
        order = [*(k for k in rising if fit.families[k] != OUTLIERS),
                 *(k for k in rising if fit.families[k] == OUTLIERS)]  # fmt: skip
        return [(fit.families[k], joint[:, k]) for k in order]
    if result.mixture.n_channels > 1 or result.threshold_surface is not None:
        return []
    mixture = result.mixture if fit is None or result.one_class else (
        result.fit.mixture if result.fit is not None else result.mixture
    )  # fmt: skip
    if result.n_classes == 1 and fit is not None:
        return []
    parts = np.exp(mixture.log_density(middle[:, None])) * mixture.weights
    names = result.component_names
    return [
        (names[k] if k < len(names) else f"class {k + 1}", parts[:, k])
        for k in range(mixture.n_components)
    ]


def _owner(k: int, n: int, result: IntensitySegmentation) -> int | None:
    """Class of the component that is the k-th by intensity; None for outliers."""
    if k >= result.n_classes:
        return None
    return n - 1 - k if result.settings.dark and result.n_classes == 2 and n == 2 else k


def _mark_cuts(ax: Axes, part: Part, scale: Scale) -> None:
    result = part.result
    if result.threshold_surface is not None:
        known = result.threshold_surface if result.mask is None else (
            result.threshold_surface[result.mask]
        )  # fmt: skip
        ends = scale.forward(np.quantile(known[np.isfinite(known)], (0.05, 0.95)))
        ax.axvspan(*ends, color="0.3", alpha=0.18, lw=0, label="90 % of thresholds")
        return
    if part.band is not None:
        for low, high in zip(part.band.low, part.band.high, strict=True):
            ends = scale.forward(np.array([low, high]))
            ax.axvspan(*ends, color="0.3", alpha=0.22, lw=0)
    for number, cut in enumerate(result.thresholds):
        ax.axvline(float(scale.forward(np.array(cut))), color="black", lw=1.2,
                   label="threshold" if number == 0 else None)  # fmt: skip


def _tick(ax: Axes, edges: np.ndarray, scale: Scale) -> None:
    """Ticks at round intensities that lie apart on the scale."""
    from matplotlib.ticker import MaxNLocator

    low, high = edges[0], edges[-1]
    if np.isinf(scale.origin):
        return
    candidates: list[float] = []
    for top in np.geomspace(1, 1 / 256, 9):  # finer and finer towards the background
        end = max(scale.origin, low) + (high - max(scale.origin, low)) * top
        candidates += list(MaxNLocator(4, steps=[1, 2, 5, 10]).tick_values(low, end))
    ends = scale.forward(np.array([low, high]))
    gap = (ends[1] - ends[0]) / 9
    chosen: list[float] = []
    for value in sorted({float(c) for c in candidates if low <= c <= high}, key=_roundness):
        place = float(scale.forward(np.array(value)))
        if all(abs(place - float(scale.forward(np.array(other)))) > gap for other in chosen):
            chosen.append(value)
    chosen.sort()
    ax.set_xticks(scale.forward(np.array(chosen)), [f"{value:g}" for value in chosen])


def _roundness(value: float) -> tuple[int, float]:
    """Rounder numbers first."""
    text = f"{abs(value):.6g}".replace(".", "").strip("0")
    return len(text), abs(value)
