"""Grayscale and colour images into classes: thresholds, and the straight path to labels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from gmmseg.checks import InputError
from gmmseg.intensities import IntensitySegmentation, labelled, one_class
from gmmseg.mixture.minimum_error import minimum_error_thresholds
from gmmseg.mixture.ordered import ordered_classes
from gmmseg.settings import ThresholdSettings
from gmmseg.spatial.channels import fit_channels
from gmmseg.spatial.frames import smooth_frames
from gmmseg.spatial.illumination import fit_illumination
from gmmseg.spatial.levels import Levels, levels_of
from gmmseg.spatial.localmixture import fit_local_classes
from gmmseg.spatial.pixels import Histogram, checked_image, histogram_from, whole_classes
from gmmseg.spatial.potts import OUTSIDE
from gmmseg.spatial.potts import smooth as smooth_joint
from gmmseg.spatial.shares import unary


def threshold_gmm(
    image: np.ndarray | None = None,
    classes: int = 2,
    *,
    mask: np.ndarray | None = None,
    hist: Histogram | None = None,
    nbins: int = 256,
    families: Sequence[str] | str | None = None,
) -> np.ndarray:
    """Thresholds between the classes of a Gaussian mixture fitted to the histogram.

    Classes borrow their variances from each other, and intensities are Gaussian on a scale that
    may turn logarithmic above the background, by likelihood: see
    :func:`gmmseg.mixture.classes.fit_classes`.

    Parameters
    ----------
    image : ndarray of real numbers, any shape, optional
        NaN is left out. Give this or ``hist``.
    classes : int
        K, two or more.
    mask : bool ndarray of the shape of the image, optional
        Pixels that count.
    hist : ndarray or pair of ndarrays, optional
        Counts, or counts and bin centres, as :func:`skimage.filters.threshold_otsu` takes them.
    nbins : int
        Bins for images whose values are not whole numbers.
    families : sequence of str or "auto", optional
        Families other than the Gaussian; see :func:`segment_intensities`.

    Returns
    -------
    (K - 1,) float64 ndarray, rising, image units; the class above begins beyond its threshold

    Raises
    ------
    InputError
        If there are fewer distinct values than classes, or no value at all.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> image = np.where(rng.random((64, 64)) < 0.1, 120, 40) + rng.normal(0, 8, (64, 64))
    >>> bool(60 < threshold_gmm(image)[0] < 100)
    True
    """
    counts, centres = histogram_from(image, mask, hist, nbins)
    return ordered_classes(counts, centres, whole_classes(classes), families=families).thresholds


def threshold_minimum_error(
    image: np.ndarray | None = None,
    classes: int = 2,
    *,
    mask: np.ndarray | None = None,
    hist: Histogram | None = None,
    nbins: int = 256,
) -> np.ndarray:
    """Thresholds of least classification error, by Kittler and Illingworth's criterion.

    Parameters
    ----------
    image, classes, mask, hist, nbins
        As for :func:`threshold_gmm`.

    Returns
    -------
    (K - 1,) float64 ndarray, rising, image units; the class above begins beyond its threshold

    Raises
    ------
    InputError
        If there are fewer distinct values than classes, or no value at all.

    References
    ----------
    Kittler & Illingworth (1986), doi 10.1016/0031-3203(86)90030-0.
    """
    counts, centres = histogram_from(image, mask, hist, nbins)
    return minimum_error_thresholds(counts, centres, whole_classes(classes))


def segment_intensities(
    image: np.ndarray,
    classes: int | str = "auto",
    *,
    mask: np.ndarray | None = None,
    channels: bool = False,
    time: bool = False,
    spacing: Sequence[float] | None = None,
    **settings: Any,
) -> IntensitySegmentation:
    """Sort the pixels of an image into classes of intensity.

    Parameters
    ----------
    image : (Y, X) or (Z, Y, X) ndarray of real numbers; with ``channels`` one more axis, last
        NaN is left out.
    classes : int or "auto"
        ``auto`` takes the number of least ICL up to six, and one where one class explains the
        image as well as two.
    mask : bool ndarray of the grid, optional
        Pixels to label.
    channels : bool
        Whether the last axis is one of channels, such as red, green and blue.
    time : bool
        Whether the first axis is one of time, before the two or three others: frames share
        their classes, and each is smoothed by itself.
    spacing : sequence of float, optional
        Pixel size along each axis, for ``smooth``; any unit.
    dark : bool
        Of two classes, whether the darker is the foreground.
    smooth : float
        Potts coupling, nats per neighbour; 0 leaves each pixel to itself.
    neighbours : {4, 8} or {6, 26}, optional
    edges : bool
        Weaken the coupling where the image has an edge (Boykov & Jolly 2001).
    method : {"mean_field", "icm", "graph_cut"}
        Of smoothing; see :func:`gmmseg.spatial.potts.smooth`.
    illumination : {"auto", "off"}, optional
        Estimate a smooth gain with the classes and keep it where BIC says so; by default with
        ``local`` only.
    local : bool
        Two classes whose parameters follow the page or the field.
    families : sequence of str or "auto", optional
        A family for each class: gaussian, rayleigh (air in magnitude MRI), rician, poisson,
        poisson-gaussian (photon counts); uniform adds outliers.
    features : sequence of str
        Beside ``intensity``: ``gradient``, ``texture``, ``position``. With more than one
        channel or feature a mixture of full covariances takes the place of thresholds.
    superpixels : int, optional
        About how many patches to label in place of pixels.

    Returns
    -------
    IntensitySegmentation

    Raises
    ------
    InputError
        If the image, the mask or a setting cannot be used.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> image = np.kron(np.eye(2), np.ones((32, 32))) * 80 + rng.normal(40, 8, (64, 64))
    >>> result = segment_intensities(image, 2, smooth=0.5)
    >>> result.names, result.fractions.round(2)
    (('background', 'foreground'), array([0.5, 0.5]))
    """
    options = ThresholdSettings(classes=classes, **settings)
    image, inside = checked_image(image, mask, channels)
    grid = image.shape[:-1] if channels else image.shape
    if len(grid) - time not in (2, 3):
        also = (" and channels" if channels else "") + (" after that of time" if time else "")
        raise InputError(
            f"The image must have two or three axes{also}; its shape is {image.shape}."
        )
    if time and (options.illumination != "off" or options.local or channels):
        raise InputError(
            "illumination, local and channels are estimated for one frame at a time; give the "
            "frames one by one, without time=True."
        )
    if channels or tuple(options.features) != ("intensity",) or options.superpixels is not None:
        return _by_channels(image, inside, channels, spacing, options)
    if options.local:
        return _locally(image, inside, spacing, options)
    return _by_histogram(image, inside, spacing, options, time)


def _by_histogram(
    image: np.ndarray,
    inside: np.ndarray | None,
    spacing: Sequence[float] | None,
    options: ThresholdSettings,
    time: bool,
) -> IntensitySegmentation:
    """One mixture for the whole image."""
    even, gain = image, None
    if options.illumination == "auto":
        light = fit_illumination(image, inside, _at_first(options))
        if light.kept:
            even, gain = light.corrected(image), np.exp(light.log_gain()).reshape(image.shape)
    levels = levels_of(even, inside)
    counts = _counts(levels, inside)
    if options.classes == "auto" and np.count_nonzero(counts) < 2:
        return one_class(image, inside, options)
    classes = ordered_classes(
        counts, levels.centres, options.classes, families=options.families, linear=gain is not None
    )
    if options.classes == "auto" and classes.one_class:
        return one_class(image, inside, options)
    k = len(classes.weights)
    flip = options.dark and k == 2
    table = classes.posteriors[:, ::-1] if flip else classes.posteriors
    table = np.ascontiguousarray(table, np.float32)
    trace = np.empty(0)
    if options.smooth > 0:
        weights = classes.weights[::-1] if flip else classes.weights
        found, posteriors, trace = smooth_frames(
            levels.index, unary(table, weights, options.smooth, image.ndim - time),
            options.smooth, time=time, spacing=spacing, neighbours=options.neighbours,
            mask=inside, method=options.method, contrast=even if options.edges else None,
        )  # fmt: skip
    else:
        found, posteriors = levels.exceeding(even, classes.thresholds), levels.look_up(table)
        found = np.uint8(k - 1) - found if flip else found
    if posteriors is None:
        posteriors = np.eye(k, dtype=np.float32)[found]
    return labelled(
        image, inside, found, posteriors, options, classes,
        gain=gain, field=trace,
        decisions={
            "classes": k,
            "illumination": gain is not None,
            "scale": classes.scale_name,
        },
    )  # fmt: skip


def _locally(
    image: np.ndarray,
    inside: np.ndarray | None,
    spacing: Sequence[float] | None,
    options: ThresholdSettings,
) -> IntensitySegmentation:
    """Two classes whose parameters vary over the image."""
    fit = fit_local_classes(
        image, inside, dark=options.dark, illumination=options.illumination == "auto"
    )
    found, posteriors, trace = fit.foreground.astype(np.uint8), fit.posterior, np.empty(0)
    if options.smooth > 0:
        joint = np.stack([np.zeros_like(fit.log_odds), fit.log_odds], axis=-1)
        field = smooth_joint(
            joint, options.smooth, spacing=spacing, neighbours=options.neighbours, mask=inside,
            method=options.method, contrast=image if options.edges else None,
        )  # fmt: skip
        found = np.where(field.labels == OUTSIDE, 0, field.labels)
        trace = field.objective
        posteriors = (
            np.eye(2, dtype=np.float32)[found] if field.posterior is None else (field.posterior)
        )
    levels = levels_of(image, inside)
    classes = ordered_classes(_counts(levels, inside), levels.centres, 2)
    return labelled(
        image, inside, found, posteriors, options, classes, surface=fit.threshold,
        field=trace,
        decisions={
            "classes": 2,
            "illumination": fit.kept_illumination,
            "stroke width": round(fit.stroke_width, 2),
        },
    )  # fmt: skip


def _by_channels(
    image: np.ndarray,
    inside: np.ndarray | None,
    channels: bool,
    spacing: Sequence[float] | None,
    options: ThresholdSettings,
) -> IntensitySegmentation:
    """A mixture of several channels or features, over pixels or superpixels."""
    for name in ("local", "families", "edges"):
        if getattr(options, name):
            raise InputError(
                f"{name} needs one channel and no other features; give a grey image, or leave it "
                f"out."
            )
    if options.illumination != "off":
        raise InputError(
            "illumination can be estimated for one channel only; give a grey image, or "
            "illumination='off'."
        )
    fit = fit_channels(
        image, options.classes, options.features, channels=channels, mask=inside,
        n_superpixels=options.superpixels,
    )  # fmt: skip
    posteriors, trace = fit.posteriors, np.empty(0)
    if options.dark and posteriors.shape[-1] == 2:
        posteriors = posteriors[..., ::-1]
    found = posteriors.argmax(axis=-1).astype(np.uint8)
    if options.smooth > 0 and posteriors.shape[-1] > 1:
        weights = fit.mixture.weights
        weights = weights[::-1] if options.dark and len(weights) == 2 else weights
        field = smooth_joint(
            unary(posteriors, weights, options.smooth, posteriors.ndim - 1), options.smooth,
            spacing=spacing,
            neighbours=options.neighbours, mask=inside, method=options.method,
        )  # fmt: skip
        found = np.where(field.labels == OUTSIDE, 0, field.labels)
        trace = field.objective
        posteriors = posteriors if field.posterior is None else field.posterior
    grey = image.mean(axis=-1) if channels else image
    return labelled(
        grey, inside, found, posteriors, options, None, mixture=fit.mixture,
        objective=fit.objective, field=trace,
        decisions={
            "classes": posteriors.shape[-1],
            "features": list(fit.names),
            "superpixels": fit.n_sites if options.superpixels else None,
        },
    )  # fmt: skip


def _at_first(options: ThresholdSettings) -> int:
    """Classes to estimate the illumination with, before their number is known."""
    return 2 if options.classes == "auto" else int(options.classes)


def _counts(levels: Levels, inside: np.ndarray | None) -> np.ndarray:
    """Pixels at each level."""
    index = levels.index.ravel() if inside is None else levels.index[inside]
    return np.bincount(index, minlength=len(levels.centres)).astype(np.float64)
