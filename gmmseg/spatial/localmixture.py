r"""Thresholds that follow the page: two classes whose parameters vary smoothly over the image.

Each place has its own mixture, fitted by EM with a Gaussian window around it. Three windows,
in stroke widths: the weights vary fastest (ink is likely beside ink), the background's mean and
spread next, the foreground's mean slowest. Each has a prior from the whole image, worth as many
voxels as the window holds or a given share of them, so that a blank part invents no foreground.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import gaussian_filter
from scipy.special import expit

from gmmseg.checks import InputError
from gmmseg.mixture.classes import Scale, fit_classes
from gmmseg.mixture.classes_kernels import pooled_variances
from gmmseg.mixture.histogram import weighted_bins
from gmmseg.spatial.illumination import as_volume, fit_illumination, valid_voxels
from gmmseg.spatial.localmixture_kernels import local_pass

# In stroke widths, and in voxels of prior per voxel in the window. Chosen among a dozen settings
# by the mean F-measure on three years of document pages; the settings differed by up to three.
_WEIGHT_WINDOW, _BACKGROUND_WINDOW, _FOREGROUND_WINDOW = 2.0, 3.0, 4.0
_WEIGHT_PRIOR, _BACKGROUND_PRIOR, _FOREGROUND_PRIOR = 0.3, 0.1, 1.0
_VARIANCE_PRIOR = 0.5
_ROUNDS = 8
_LIMIT = 30.0  # nats of log odds


@dataclass(frozen=True, slots=True, eq=False)
class LocalClasses:
    """Two classes with local parameters.

    Attributes
    ----------
    foreground : bool ndarray of the image's shape, false outside the mask
    log_odds : float32 ndarray of the image's shape, of the foreground, nats within +-30
    threshold : float32 ndarray of the image's shape, image units
    stroke_width : float, voxels
    kept_illumination : bool, whether a smooth gain was taken out first
    """

    foreground: np.ndarray
    log_odds: np.ndarray
    threshold: np.ndarray
    stroke_width: float
    kept_illumination: bool

    @property
    def posterior(self) -> np.ndarray:
        """Posterior of background and foreground: the image's shape, then 2, float32."""
        ink = expit(self.log_odds)
        return np.stack([1 - ink, ink], axis=-1)


def fit_local_classes(
    image: np.ndarray,
    mask: np.ndarray | None = None,
    *,
    dark: bool = True,
    window: float | None = None,
    illumination: bool = True,
) -> LocalClasses:
    """Foreground and background of a page or a wide field, by parameters that vary over it.

    Parameters
    ----------
    image : (Y, X) or (Z, Y, X) ndarray of numbers
        NaN counts as outside the mask.
    mask : bool ndarray of the same shape, optional
    dark : bool
        Whether the foreground is the darker class, as ink is.
    window : float, optional
        Width of a stroke or a thin object, voxels; all windows are multiples of it. By default
        measured: twice the area over the outline of the global foreground.
    illumination : bool
        Take a smooth gain out first, where the image asks for one.

    Returns
    -------
    LocalClasses

    Raises
    ------
    InputError
        If the shapes do not fit or fewer than two distinct intensities are left.

    References
    ----------
    .. [1] Huang, Li & Wang (2013), doi 10.1080/01621459.2013.772897: EM under a kernel.
    .. [2] Gatos, Pratikakis & Perantonis (2006), doi 10.1016/j.patcog.2005.09.010, for the
       background as a surface.
    """
    shape = np.asarray(image).shape
    volume = as_volume(image, "image")
    inside = valid_voxels(volume, mask, shape)
    if window is not None and not (np.isfinite(window) and window > 0):
        raise InputError(f"window must be a width in voxels above zero; got {window}.")
    light = fit_illumination(image, mask) if illumination else None
    kept = light is not None and light.kept
    even = light.corrected(volume) if kept and light is not None else volume
    centres, counts = weighted_bins(even[inside], 1024)
    page = fit_classes(counts, centres, 2, scale=Scale() if kept else None)
    sign = 1.0 if dark else -1.0
    y = (sign * page.scale.forward(even)).astype(np.float32)
    y[~inside] = 0
    order = slice(None) if dark else slice(None, None, -1)
    means = sign * page.means[order]
    offset = float(means[1])  # about zero, so that squares lose nothing
    y[inside] -= np.float32(offset)
    first = (y < sign * page.scale.forward(page.thresholds)[0] - offset) & inside
    # A stain may look like ink to the whole page, faint ink like paper beside a moving average:
    # start from either, and keep what is likelier in the end.
    starts = [first, _below_average(y, inside)]
    best = max((_ascend(y, inside, start, window) for start in starts), key=lambda run: run[0])
    _, odds, surface, blocks, width = best
    threshold = _spread(surface, y.shape, blocks) + np.float32(offset)
    threshold = page.scale.backward(sign * threshold)
    if kept and light is not None:
        threshold = (threshold - light.floor) * np.exp(-light.log_gain()) + light.floor
    found = inside & (odds > 0)
    return LocalClasses(
        found.reshape(shape),
        odds.reshape(shape),
        threshold.astype(np.float32).reshape(shape),
        width,
        kept,
    )


def _below_average(y: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """What a page-wide threshold finds after the moving average is taken off."""
    sigma = [max(y.shape) / 24 if n > 1 else 0.0 for n in y.shape]
    near = gaussian_filter(inside.astype(np.float32), sigma, mode="constant", truncate=2.0)
    level = gaussian_filter(y, sigma, mode="constant", truncate=2.0)  # zero outside
    rest = y - level / np.maximum(near, 1e-6)
    centres, counts = weighted_bins(rest[inside], 1024)
    if len(counts) < 2:  # a flat residual, of an image of a few voxels
        return inside & (y < 0)
    return (rest < fit_classes(counts, centres, scale=Scale()).thresholds[0]) & inside


def _ascend(
    y: np.ndarray, inside: np.ndarray, start: np.ndarray, window: float | None
) -> tuple[float, np.ndarray, np.ndarray, np.ndarray, float]:
    """EM from a first foreground: log-likelihood, odds, threshold by block, blocks, width."""
    width = _stroke_width(start) if window is None else float(window)
    blocks = np.array([min(max(2, round(width)), n) for n in y.shape])
    lattice = [-(-n // b) for n, b in zip(y.shape, blocks, strict=True)]
    steps = width / blocks * (np.array(lattice) > 1)
    moments = _moments(y, start, blocks, lattice), _moments(y, inside & ~start, blocks, lattice)
    surfaces = _maximise(np.concatenate(moments), steps)
    odds = np.empty(y.shape, np.float32)
    for done in range(_ROUNDS + 1):
        both = np.zeros((6, *lattice))
        likelihood = local_pass(y, inside, blocks, surfaces, _LIMIT, odds, both)
        if done < _ROUNDS:
            surfaces = _maximise(both, steps)
    return likelihood, odds, surfaces[5], blocks, width


def _moments(y: np.ndarray, part: np.ndarray, blocks: np.ndarray, lattice: list[int]) -> np.ndarray:
    """Count, sum and sum of squares of a part of the voxels in each block, (3, z, y, x)."""
    own = np.where(part, y, 0).astype(np.float64)
    out = np.stack([part.astype(np.float64), own, own * own])
    for axis, (block, n) in enumerate(zip(blocks, lattice, strict=True), start=1):
        out = np.add.reduceat(out, np.arange(n) * block, axis=axis)
    return out


def _stroke_width(found: np.ndarray) -> float:
    """Twice the content over the boundary of a mask, in voxels; at least one."""
    faces = sum(
        int(np.count_nonzero(np.diff(found, axis=axis)))
        for axis in range(found.ndim)
        if found.shape[axis] > 1
    )
    # Steps along the grid overstate a boundary of all directions by 4 / pi, a surface by 3 / 2.
    excess = np.pi / 4 if found.shape[0] == 1 else 2 / 3
    width = 2 * np.count_nonzero(found) / max(faces * excess, 1)
    return float(np.clip(width, 1.0, max(1.0, max(found.shape) / 16)))


def _maximise(moments: np.ndarray, steps: np.ndarray) -> np.ndarray:
    """Surfaces of the parameters, for :func:`local_pass`, from the moments of each block."""
    n0, s0, q0, n1, s1, q1 = moments

    def near(part: np.ndarray, widths: float) -> np.ndarray:
        return gaussian_filter(part, widths * steps, mode="constant", truncate=3.0)

    total = n0 + n1
    share = float(n0.sum() / total.sum())
    whole0 = s0.sum() / max(n0.sum(), 1e-12)
    whole1 = s1.sum() / max(n1.sum(), 1e-12)
    prior = _BACKGROUND_PRIOR * near(total, _BACKGROUND_WINDOW) + 1e-9
    count = near(n1, _BACKGROUND_WINDOW) + prior
    back = (near(s1, _BACKGROUND_WINDOW) + prior * whole1) / count
    # Where there is no foreground its mean lies as far below the background as elsewhere.
    own = _FOREGROUND_PRIOR * share * near(total, _FOREGROUND_WINDOW) + 1e-9
    front = near(s0, _FOREGROUND_WINDOW) + own * (back + whole0 - whole1)
    front /= near(n0, _FOREGROUND_WINDOW) + own

    square1 = np.maximum(q1 - 2 * back * s1 + back**2 * n1, 0)
    square0 = np.maximum(q0 - 2 * front * s0 + front**2 * n0, 0)
    gap = abs(float(whole1 - whole0))
    floor = max((1e-3 * gap) ** 2, 1e-12)
    within = np.array([
        max(square0.sum() / max(n0.sum(), 1e-12), floor),
        max(square1.sum() / max(n1.sum(), 1e-12), floor),
    ])  # fmt: skip
    weights = np.array([share, 1 - share])
    variances = within.copy()
    pooled_variances(weights, within, _VARIANCE_PRIOR, variances)
    noise = near(square1, _BACKGROUND_WINDOW) + prior * within[1]
    noise = np.maximum(noise / (count * within[1]), 1e-3)

    beside = near(n0, _WEIGHT_WINDOW) + _WEIGHT_PRIOR * share * near(total, _WEIGHT_WINDOW)
    away = near(n1, _WEIGHT_WINDOW) + _WEIGHT_PRIOR * (1 - share) * near(total, _WEIGHT_WINDOW)
    odds = np.log(np.maximum(beside, 1e-9) / np.maximum(away, 1e-9))
    odds += 0.5 * np.log(variances[1] / variances[0])
    half0, half1 = 0.5 / (variances[0] * noise), 0.5 / (variances[1] * noise)
    return np.stack([front, back, half0, half1, odds, _crossing(front, back, half0, half1, odds)])


def _crossing(
    front: np.ndarray, back: np.ndarray, half0: np.ndarray, half1: np.ndarray, odds: np.ndarray
) -> np.ndarray:
    """Where the log odds change sign between the means, by bisection."""
    low, high = front.copy(), back.copy()
    for _ in range(30):
        middle = 0.5 * (low + high)
        inner = odds - half0 * (middle - front) ** 2 + half1 * (middle - back) ** 2 > 0
        low, high = np.where(inner, middle, low), np.where(inner, high, middle)
    return 0.5 * (low + high)


def _spread(surface: np.ndarray, shape: tuple[int, ...], blocks: np.ndarray) -> np.ndarray:
    """A surface over blocks at every voxel, linear between their centres; float32."""
    out = surface.astype(np.float32)
    for axis, (n, block) in enumerate(zip(shape, blocks, strict=True)):
        m = out.shape[axis]
        where = np.clip((np.arange(n) + 0.5) / block - 0.5, 0, m - 1)
        low = np.minimum(where.astype(int), max(m - 2, 0))
        share = (where - low).astype(np.float32)
        share = share.reshape([-1 if a == axis else 1 for a in range(out.ndim)])
        upper = np.take(out, np.minimum(low + 1, m - 1), axis)
        out = np.take(out, low, axis) * (1 - share) + upper * share
    return out
