"""What a segmentation by intensity gives back."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import entr

from gmmseg.checks import InputError
from gmmseg.mixture.model import Mixture
from gmmseg.mixture.ordered import OrderedClasses
from gmmseg.segmentation import Segmentation, freeze
from gmmseg.settings import ThresholdSettings

NAMES = ("background", "foreground")


@dataclass(frozen=True, slots=True, eq=False, kw_only=True, repr=False)
class IntensitySegmentation(Segmentation):
    """Classes of intensity of one image; arrays are read-only.

    Of two classes, ``labels`` are 0 for the background and 1 for the foreground; of more, they
    count from 1 in order of intensity (of the first feature, where there are several), and 0 is
    outside of the mask. ``names`` and everything else with a class axis follow the labels.
    """

    thresholds: np.ndarray  # (K - 1,) image units, rising; of corrected intensities, see `gain`
    class_means: np.ndarray  # (K,) image units, of the pixels of each class; NaN if it has none
    fractions: np.ndarray  # (K,) share of the pixels
    separation: np.ndarray  # (K - 1,) distance of neighbouring means in standard deviations
    one_class: bool  # whether a single class explains the intensities as well
    mask: np.ndarray | None = None  # bool, the grid: pixels with a label
    gain: np.ndarray | None = None  # float32, the grid: corrected image / image, if estimated
    threshold_surface: np.ndarray | None = None  # float32, the grid: a threshold for each pixel
    fit: OrderedClasses | None = None  # of the histogram, where thresholds come from one

    def __post_init__(self) -> None:
        Segmentation.__post_init__(self)  # `super()` does not work in a class with slots
        for field in ("thresholds", "class_means", "fractions", "separation"):
            freeze(self, field, np.asarray(getattr(self, field), dtype=np.float64))
        for field in ("mask", "gain", "threshold_surface"):
            if getattr(self, field) is not None:
                freeze(self, field, getattr(self, field))

    @property
    def n_classes(self) -> int:
        """K; one where the image has but one class."""
        return len(self.names)


def one_class(
    image: np.ndarray, inside: np.ndarray | None, options: ThresholdSettings
) -> IntensitySegmentation:
    """An image of one class: nothing is cut in half."""
    known = image if inside is None else image[inside]
    mean, variance = float(known.mean(dtype=np.float64)), float(known.var(dtype=np.float64))
    posteriors = np.ones((*image.shape, 1), np.float32)
    if inside is not None:
        posteriors[~inside] = 0
    return IntensitySegmentation(
        labels=np.zeros(image.shape, np.uint8), posteriors=posteriors, names=("background",),
        mixture=Mixture(np.ones(1), np.array([[mean]]), np.array([[[max(variance, 1e-12)]]])),
        component_names=("background",), objective=np.empty(0),
        decisions={"classes": 1}, settings=options,
        warnings=("One class explains the image as well as two; nothing was cut off.",),
        uncertainty=np.zeros(image.shape, np.float32), thresholds=np.empty(0),
        class_means=np.array([mean]), fractions=np.ones(1), separation=np.empty(0),
        one_class=True, mask=inside,
    )  # fmt: skip


def labelled(
    image: np.ndarray,
    inside: np.ndarray | None,
    found: np.ndarray,
    posteriors: np.ndarray,
    options: ThresholdSettings,
    classes: OrderedClasses | None,
    *,
    decisions: dict[str, object],
    field: np.ndarray,
    gain: np.ndarray | None = None,
    surface: np.ndarray | None = None,
    mixture: Mixture | None = None,
    objective: np.ndarray | None = None,
) -> IntensitySegmentation:
    """Labels as users count them, and what the classes are like."""
    k = posteriors.shape[-1]
    names = NAMES if k == 2 else tuple(f"class {c + 1}" for c in range(k))
    known, shown = (found, image) if inside is None else (found[inside], image[inside])
    sizes = np.bincount(known.ravel(), minlength=k).astype(np.float64)
    sums = np.bincount(known.ravel(), shown.ravel(), minlength=k)
    warnings = []
    if classes is not None and classes.one_class:
        warnings.append("One class explains the image as well as two: the cut may mean nothing.")
    if not sizes.all():
        empty = ", ".join(names[c] for c in np.flatnonzero(sizes == 0))
        warnings.append(f"No pixel was labelled {empty}.")
    labels = found if k == 2 else found + np.uint8(1)
    if inside is not None:
        labels = np.where(inside, labels, np.uint8(0))
        posteriors = np.where(inside[..., None], posteriors, np.float32(0))
    flip = options.dark and k == 2
    owners = names[::-1] if flip else names
    model = mixture if classes is None else classes.mixture
    if model is None:
        raise InputError("a segmentation needs a mixture.")
    with np.errstate(invalid="ignore"):
        means = sums / sizes
    return IntensitySegmentation(
        labels=labels, posteriors=posteriors, names=names, mixture=model,
        component_names=owners if len(owners) == model.n_components else names,
        objective=np.empty(0) if objective is None else objective,
        decisions={**decisions, "field objective": field.tolist()}, settings=options,
        warnings=tuple(warnings), uncertainty=entr(posteriors).sum(axis=-1),
        thresholds=np.empty(0) if classes is None else classes.thresholds,
        class_means=means, fractions=sizes / max(sizes.sum(), 1.0),
        separation=np.empty(0) if classes is None else classes.separation,
        one_class=bool(classes is not None and classes.one_class), mask=inside,
        gain=gain, threshold_surface=surface, fit=classes,
    )  # fmt: skip
