"""Does the result look like a brain in a scan of its contrast? Figures, their limits, and doubts.

Limits of volumes, place and shape lie far outside what good scans have shown; those of noise, of
contrast and of grey matter at a border lie in narrow gaps between scans that were seen
(``docs/design.md``, "The self-check"). A result that passes may still be wrong: look at the
picture.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from gmmseg import contrast
from gmmseg.affines import voxel_sizes
from gmmseg.spatial.lost import shown_box
from gmmseg.spatial.plausibility import share_through_tissue
from gmmseg.volume import remarks

if TYPE_CHECKING:
    from gmmseg.tissues import BrainSegmentation

PLAUSIBLE_ML = {"GM": (250, 1200), "WM": (150, 900), "CSF": (20, 1000), "brain": (700, 2300)}
"""Volumes from a child's first year to the largest of adults and to severe atrophy. Healthy adults
have 1300 to 1500 mL inside the skull, +- 110 (standard deviation; Matsumae et al. 1996, doi
10.3171/jns.1996.84.6.0982), volumes of each tissue in Kruggel (2006), doi
10.1016/j.neuroimage.2005.09.063, over the whole of life in Bethlehem et al. (2022), doi
10.1038/s41586-022-04554-y. CSF may be missing from a stripped scan, and with a mask made by other
means it may hold everything up to the skull."""
OVERLAP = 0.82
INFORMATION = 0.05
"""Nats per sample. Scans as they come have .24 to .49, with 12 % noise .17 to .36, PD-like ones .10
to .27; turned over in their header, mirrored, or with blobs for tissue, .005 at most."""
STRETCH = (0.65, 1.6)
VOLUME_RATIO = (0.6, 2.4)
ROTATION = 75.0  # degrees
DISPLACEMENT = 12.0  # mm, root mean square
EDGE_CM2 = 15.0
THICKEST_MM = 4.5  # the cortex is 2 to 4 mm thick
MISLABELLED = 0.07
"""Share of voxels. Noise of 12 % of white matter gives .09 and more on eight heads; as they come
they have .002 at most, BrainWeb's at 2 mm and 7 % has .05, the one at 1 mm and 9 % .10."""
AT_BORDER = 0.62
"""Share of grey matter. A sheet of n voxels has 2 / n; heads of 1 mm have .42 to .56, simulated
ones of 2 mm, with fewer folds, .55 to .58, real heads averaged to 2 mm .65 to .77."""

THROUGH_TISSUE = 0.25
"""Share of a mask's surface. Masks of six heads have .01 to .08, 2 mm too wide .04 to .19; 1 mm
too tight .10 to .17, with 1 to 2 % less grey matter, 2 mm too tight .32 to .57, with 4 to 8 %."""


@dataclass(frozen=True, slots=True)
class Check:
    """One figure of a result and the range it may have; a figure that is NaN fails."""

    name: str
    measured: float
    low: float
    high: float
    unit: str
    message: str  # what a figure out of range says about the result, one or two sentences

    @property
    def passed(self) -> bool:
        """Whether the figure lies in its range."""
        return self.low <= self.measured <= self.high

    def record(self) -> dict[str, object]:
        """Content for the provenance: name, figure, limits (None where there is none), verdict."""
        limits = [x if math.isfinite(x) else None for x in (self.low, self.high)]
        return {
            "name": self.name,
            "measured": self.measured,
            "lowest_allowed": limits[0],
            "highest_allowed": limits[1],
            "unit": self.unit,
            "passed": self.passed,
        }


def check(segmentation: BrainSegmentation) -> tuple[Check, ...]:
    """Every check of a segmentation of the brain, passed or not.

    Parameters
    ----------
    segmentation : BrainSegmentation
        What its classes do not allow, or the workflow did not measure, is not checked.

    Returns
    -------
    tuple of Check, always in the same order
    """
    return (
        *_intensities(segmentation),
        *_weighting(segmentation),
        _thickness(segmentation),
        *_volumes(segmentation),
        _edge(segmentation),
        *_mask(segmentation),
        *_fit(segmentation),
    )


def doubted(segmentation: BrainSegmentation, checks: Iterable[Check]) -> BrainSegmentation:
    """The same with all there is to warn of: what is odd about the scan, and checks that failed."""
    found = (
        *remarks(segmentation.volume),
        *segmentation.warnings,
        *(one.message for one in checks if not one.passed),
    )
    return segmentation.warned(tuple(dict.fromkeys(found)))


def class_statistics(segmentation: BrainSegmentation) -> tuple[dict[str, float], dict[str, float]]:
    """Mean and standard deviation of CSF, GM and WM, those that there are; image units."""
    names = [str(name) for name in ("CSF", "GM", "WM") if name in segmentation.names]
    means = {name: segmentation.class_mean(name) for name in names}
    return means, {name: segmentation.class_spread(name) for name in names}


def _intensities(segmentation: BrainSegmentation) -> Iterator[Check]:
    """Order of the class means in the contrast of the scan, and the steps between them."""
    # Other workflows decide on no contrast: theirs is that of T1.
    decided = segmentation.decisions.get("contrast", "t1")
    shown = None if decided is None else str(decided)
    for one in contrast.steps(shown, *class_statistics(segmentation)):
        yield Check(one.name, one.measured, one.least, math.inf, one.unit, one.message)


def _weighting(segmentation: BrainSegmentation) -> Iterator[Check]:
    """Whether the scan is T1-weighted, where nobody said what it is."""
    found = segmentation.decisions.get("contrast")
    if segmentation.settings.contrast != contrast.AUTO or found is None:
        return  # somebody said it, or nothing fits, which the order of class means tells
    shown = str(found).upper()
    yield Check(
        "T1 weighting", float(found == "t1"), 1.0, math.inf, "1 if as it should be",
        f"The scan looks {shown}-weighted, and the model was measured on T1: in heads remapped to "
        f"other weightings CSF overlapped with the labels from T1 by a mean Dice of 0.91 at best. "
        f"Check the picture; --contrast {found} says that the weighting is meant.",
    )  # fmt: skip


def _thickness(segmentation: BrainSegmentation) -> Check:
    """Longest edge of a voxel."""
    edge = float(voxel_sizes(segmentation.volume.affine).max())
    return Check(
        "longest edge of a voxel", edge, 0.0, THICKEST_MM, "mm",
        f"Voxels of {edge:.3g} mm are thick ({THICKEST_MM:g} at most leave labels to be trusted): "
        f"most of the cortex is mixed with its neighbours.",
    )  # fmt: skip


def _volumes(segmentation: BrainSegmentation) -> Iterator[Check]:
    for row in reversed(segmentation.volumes_ml()):
        if row.name not in PLAUSIBLE_ML:
            continue
        low, high = PLAUSIBLE_ML[row.name]
        message = (
            f"The brain with its CSF is {row.from_labels:.0f} mL large; {low} to {high} mL are "
            f"plausible for a whole one. Check the picture."
            if row.name == "brain"
            else f"{row.name} has {row.from_labels:.0f} mL; {low} to {high} mL are plausible. "
            f"Check the picture."
        )
        yield Check(f"volume of {row.name}", row.from_labels, low, high, "mL", message)


def _edge(segmentation: BrainSegmentation) -> Check:
    """Area of the brain on the faces of the image, or of what it shows.

    A brain without its skull fills what is shown by nature.
    """
    mask, decided = segmentation.mask, segmentation.decisions
    if not (decided.get("stripped") or decided.get("mask given")):
        mask = mask[shown_box(segmentation.volume.data)]
    cut = cut_area_cm2(mask, voxel_sizes(segmentation.volume.affine))
    return Check(
        "brain at the edge of the image", cut, 0.0, EDGE_CM2, "cm2",
        f"The brain touches the edge of the image over {cut:.0f} cm2: a part of it seems to be "
        f"missing, and volumes are those of the rest.",
    )  # fmt: skip


def cut_area_cm2(mask: np.ndarray, spacing: np.ndarray) -> float:
    """Largest area, in cm2, over which a mask (X, Y, Z) lies on one face of its grid (mm)."""
    areas = []
    for axis in range(3):
        voxel = np.prod(spacing) / spacing[axis] / 100.0
        along = np.moveaxis(mask, axis, 0)
        faces = (along[0], along[-1])
        areas += [float(np.count_nonzero(face) * voxel) for face in faces]
    return max(areas)


def _mask(segmentation: BrainSegmentation) -> Iterator[Check]:
    """Whether a mask that was given runs through grey or white matter.

    What lies beyond it is no darker, or no brighter, than halfway from CSF to grey matter, and as
    far from grey matter as white matter is, or half as far again.
    """
    names = segmentation.names
    if not (segmentation.decisions.get("mask given") and {"CSF", "GM", "WM"} <= set(names)):
        return
    csf, grey, white = (segmentation.class_mean(name) for name in ("CSF", "GM", "WM"))
    low, high = sorted(((csf + grey) / 2, white + (white - grey) / 2))
    solid = [names.index(name) + 1 for name in ("GM", "WM")]
    cut = share_through_tissue(segmentation.labels, solid, segmentation.corrected, low, high)
    yield Check(
        "mask through tissue", cut, 0.0, THROUGH_TISSUE, "share of its surface",
        f"The brain mask cuts through grey or white matter over {cut:.1%} of its surface "
        f"({THROUGH_TISSUE:.0%} at most leave volumes to be trusted): it is too tight, and what "
        f"lies outside is missing. Check the mask, or leave out --mask.",
    )  # fmt: skip


def _fit(segmentation: BrainSegmentation) -> Iterator[Check]:
    """What the workflow measured of its fit; see :mod:`gmmseg.spatial.plausibility`."""
    figures = segmentation.figures
    wrong_place = "the template may lie in the wrong place. Check the orientation in the header."
    limits = {
        "mislabelled by noise": (
            0.0, MISLABELLED, "share of voxels",
            ("Noise is strong: by itself it takes {0:.1%} of voxels for another tissue ({2:.0%} at "
            "most leave labels to be trusted); smoothing puts most of them right, but thin sulci "
            "and gyri suffer."),
        ),
        "grey matter at a border": (
            0.0, AT_BORDER, "share of voxels",
            ("Of grey matter's voxels {0:.1%} lie at its border ({2:.0%} at most leave labels to "
            "be trusted): voxels are too large for the folds of this brain (as 1.5 mm mostly are), "
            "so that thin ones are lost, or labels are full of specks."),
        ),
        "atlas overlap": (
            OVERLAP, 1.0, "Dice",
            "Grey and white matter and the template's lie on each other with a Dice overlap of "
            "{0:.3f} only ({1:g} at least is plausible); " + wrong_place,
        ),
        "place information nats": (
            INFORMATION, math.inf, "nats per sample",
            ("Where a voxel lies in the template tells next to nothing about its intensity ({0:.3f}"
            " nats, {1:g} at least is plausible); the image may show no brain, or one that is "
            "upside down or back to front. Check the orientation in the header."),
        ),
        "smallest stretch": (
            STRETCH[0], math.inf, "1",
            ("The scan would have to be squeezed to {0:.3f} of its size along one direction to fit "
            "the template ({1:g} at least is plausible); check the voxel size in the header."),
        ),
        "largest stretch": (
            0.0, STRETCH[1], "1",
            ("The scan would have to be stretched to {0:.3f} times its size along one direction to "
            "fit the template ({2:g} at most is plausible); check the voxel size in the header."),
        ),
        "volume ratio": (
            *VOLUME_RATIO, "1",
            ("The brain would have to be {0:.3f} times as large to fit the template ({1:g} to "
            "{2:g} are plausible); check the voxel size in the header."),
        ),
        "rotation degrees": (
            0.0, ROTATION, "degrees",
            ("The scan would have to be turned by {0:.0f} degrees to fit the template ({2:g} at "
            "most is plausible). Check the orientation in the header."),
        ),
        "displacement mm": (
            0.0, DISPLACEMENT, "mm",
            "The template had to be bent by {0:.1f} mm on average ({2:g} at most is plausible); "
            + wrong_place,
        ),
    }  # fmt: skip
    for name, (low, high, unit, message) in limits.items():
        if name in figures:
            value = float(figures[name])
            yield Check(name, value, low, high, unit, message.format(value, low, high))
