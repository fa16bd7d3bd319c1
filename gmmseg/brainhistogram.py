"""The histogram of a segmented brain, with the classes that were fitted to it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from gmmseg.bins import bin_edges, some_finite
from gmmseg.labels import colours

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from gmmseg.tissues import BrainSegmentation

N_COUNTED = 400_000  # voxels of the brain: the fullest of the bins is then within two per cent
MIXED = "#7a5195"  # components between two tissues, or of a part of one


def draw_histogram(ax: Axes, segmentation: BrainSegmentation) -> None:
    """Intensities of the corrected brain with the fitted classes and their sum drawn over them."""
    inside = some_finite(segmentation.corrected[segmentation.mask], N_COUNTED)
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
