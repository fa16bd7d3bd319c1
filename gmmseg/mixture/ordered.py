"""Classes of intensity whatever they are made of: how many, where they part, what each pixel is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import entr, ndtr

from gmmseg.checks import InputError
from gmmseg.mixture.classes import ClassFit, Scale, fit_classes
from gmmseg.mixture.families import fit_families, select_family
from gmmseg.mixture.familyfit import FamilyFit
from gmmseg.mixture.model import Mixture
from gmmseg.mixture.onemode import check_one_class

MOST_CLASSES = 6  # that are tried
OUTLIERS = "uniform"


@dataclass(frozen=True, slots=True, eq=False)
class OrderedClasses:
    """Classes of a histogram, rising by intensity.

    Attributes
    ----------
    thresholds : (K - 1,) float64 ndarray, image units; the class above begins beyond
    posteriors : (B, K) float64 ndarray, of the classes in each bin
    weights : (K,) float64 ndarray, mixing proportions
    separation : (K - 1,) float64 ndarray
        Distance of neighbouring means in standard deviations, on the scale of the fit.
    misfit : float
        Largest distance between the distribution functions of image and model, 0 to 1.
    one_class : bool
        Whether a single class explains the histogram as well.
    objective : (S,) float64 ndarray, nats per voxel
    mixture : Mixture
        On the scale of the fit; of families other than the Gaussian, means and variances.
    fit : ClassFit or FamilyFit
    """

    thresholds: np.ndarray
    posteriors: np.ndarray
    weights: np.ndarray
    separation: np.ndarray
    misfit: float
    one_class: bool
    objective: np.ndarray
    mixture: Mixture
    fit: ClassFit | FamilyFit

    @property
    def scale_name(self) -> str:
        """Scale on which the classes are Gaussian, or the families of the classes."""
        if not isinstance(self.fit, ClassFit):
            return ", ".join(self.fit.families)
        origin = self.fit.scale.origin
        return "linear" if np.isinf(origin) else f"logarithmic above {origin:g}"


def ordered_classes(
    counts: np.ndarray,
    centres: np.ndarray,
    classes: int | str = 2,
    *,
    families: Sequence[str] | str | None = None,
    linear: bool = False,
) -> OrderedClasses:
    """Fit classes to a histogram.

    Parameters
    ----------
    counts, centres : (B,) ndarrays
        Voxels of each bin, and bin centres in image units, rising.
    classes : int or "auto"
        ``auto`` takes the number of classes of the least ICL, two to six.
    families : sequence of str or "auto", optional
        A family of :data:`gmmseg.mixture.familyfit.FAMILIES` for each class, ``uniform`` for
        outliers beside them, in place of classes alike in variance on a common scale; ``auto``
        tries the usual combinations for the number of ``classes``.
    linear : bool
        Only the linear scale, as after a gain has evened the image out: what is logarithmic about
        an image, the gain has taken.

    Returns
    -------
    OrderedClasses

    Raises
    ------
    InputError
        If there are fewer values than classes, or an unknown family.

    References
    ----------
    Biernacki, Celeux & Govaert (2000), doi 10.1109/34.865189, for ICL.
    """
    counts, centres = np.asarray(counts, np.float64), np.asarray(centres, np.float64)
    if families is not None:
        return _of_families(counts, centres, classes, families)
    check = check_one_class(counts, centres)
    scale = Scale() if linear else None
    if classes == "auto":
        used = int(np.count_nonzero(counts))
        fits = [
            fit_classes(counts, centres, k, scale=scale)
            for k in range(2, min(MOST_CLASSES, used) + 1)
        ]
        fit = min(fits, key=lambda one: _icl(one, counts, centres))
    else:
        fit = fit_classes(counts, centres, int(classes), scale=scale)
    mixture = Mixture(fit.weights, fit.means[:, None], fit.variances[:, None, None])
    return OrderedClasses(
        fit.thresholds, fit.posteriors(centres), fit.weights, fit.separation,
        _misfit(fit, counts, centres), check.one_class, fit.objective, mixture, fit,
    )  # fmt: skip


def _icl(fit: ClassFit, counts: np.ndarray, centres: np.ndarray) -> float:
    """Integrated completed likelihood of a fit: BIC and twice the entropy of the classes."""
    n, k = counts.sum(), len(fit.weights)
    scale = 0 if np.isinf(fit.scale.origin) else 2
    undecided = counts @ entr(fit.posteriors(centres)).sum(axis=1)
    return float(-2 * n * fit.log_likelihood + (3 * k - 1 + scale) * np.log(n) + 2 * undecided)


def _misfit(fit: ClassFit, counts: np.ndarray, centres: np.ndarray) -> float:
    used = counts > 0  # whatever the bins that nothing is in
    counts, centres = counts[used], centres[used]
    edges = 0.5 * (centres[1:] + centres[:-1])
    z = (fit.scale.forward(edges)[:, None] - fit.means) / np.sqrt(fit.variances)
    share = np.cumsum(counts)[:-1] / counts.sum()
    return float(np.abs(ndtr(z) @ fit.weights - share).max()) if len(edges) else 0.0


def _of_families(
    counts: np.ndarray, centres: np.ndarray, classes: int | str, families: Sequence[str] | str
) -> OrderedClasses:
    if families == "auto":
        if classes == "auto":
            raise InputError('families="auto" needs a number of classes; give one.')
        fit = select_family(counts, centres, int(classes)).winner
    else:
        fit = fit_families(counts, centres, tuple(families))
    order = np.argsort(fit.means, kind="stable")
    order = np.array([k for k in order if fit.families[k] != OUTLIERS])
    if len(order) < 2:
        raise InputError("families needs two classes or more beside the outliers.")
    joint = fit.log_joint(centres)[:, order]
    nowhere = joint.max(axis=1) == -np.inf
    near = -np.abs(centres[nowhere, None] - fit.means[order])
    joint[nowhere] = np.where(near == near.max(axis=1, keepdims=True), 0.0, -np.inf)
    joint -= joint.max(axis=1, keepdims=True)
    posteriors = np.exp(joint)
    posteriors /= posteriors.sum(axis=1, keepdims=True)
    thresholds = _crossings(posteriors, centres, fit.means[order])
    weights = fit.weights[order] / fit.weights[order].sum()
    spread = [
        np.sqrt(np.average((centres - fit.means[k]) ** 2, weights=counts * p + 1e-300))
        for k, p in zip(order, posteriors.T, strict=True)
    ]
    variances = np.maximum(np.square(spread), 1e-300)
    model = np.exp(fit.log_joint(centres)).sum(axis=1)
    misfit = np.abs(np.cumsum(model) / model.sum() - np.cumsum(counts) / counts.sum()).max()
    separation = np.diff(fit.means[order]) / np.sqrt(0.5 * (variances[1:] + variances[:-1]))
    mixture = Mixture(weights, fit.means[order][:, None], variances[:, None, None])
    one = check_one_class(counts, centres).one_class
    return OrderedClasses(
        thresholds, posteriors, weights, separation, float(misfit), one, fit.objective, mixture, fit
    )


def _crossings(posteriors: np.ndarray, centres: np.ndarray, means: np.ndarray) -> np.ndarray:
    """Where each class gives way to the next, midway between the bins on either side."""
    out = []
    for k in range(len(means) - 1):
        between = np.flatnonzero((centres >= means[k]) & (centres <= means[k + 1]))
        upper = posteriors[between, k + 1] > posteriors[between, k]
        if not len(between):
            out.append(0.5 * (means[k] + means[k + 1]))
        elif not upper.any():
            out.append(float(centres[between[-1]]))
        else:
            at = between[int(np.argmax(upper))]
            out.append(0.5 * (centres[max(at - 1, 0)] + centres[at]))
    return np.maximum.accumulate(np.array(out))
