r"""Uneven illumination of an image or volume: a smooth gain, fitted with the classes.

An intensity times :math:`\exp(b(x))` is Gaussian in its class, with one variance; ``b`` is a sum
of low-frequency cosines (:mod:`gmmseg.spatial.bias`). The fit sees a regular sample of the voxels;
the gain is one number for each cell of a coarse lattice while fitting, and smooth when applied.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from gmmseg.checks import InputError
from gmmseg.mixture.classes import Scale, fit_classes
from gmmseg.mixture.histogram import weighted_bins
from gmmseg.spatial.bias import CosineBasis, cosine_basis, log_penalty, newton_step

CYCLES = 6.0
_FEW_CYCLES = 1.0  # of a start that bends round no object
_CELLS = 48  # along the longest axis
_SAMPLES = 60_000
_MOST_TERMS = 256
_WIDEST = np.log(4.0)  # between the darkest and the brightest fortieth of the voxels
_MAX_ITER = 60
_TOL = 1e-5  # nats per voxel


@dataclass(frozen=True, slots=True, eq=False)
class Illumination:
    """A smooth gain and whether the image asks for it.

    Attributes
    ----------
    kept : bool
        False: one gain explains the image as well, and ``log_gain`` is zero everywhere.
    objective : (S,) float64 ndarray
        Log-likelihood and log prior, nats per sampled voxel, never decreasing.
    evidence : float
        Gain in nats per sampled voxel over the mixture without a field, less half the BIC charge.
    shape : (3,) int, the image; axes of length 1 come first
    floor : float, image units: what the gain leaves in place (0, or the lowest if below)
    """

    kept: bool
    objective: np.ndarray
    evidence: float
    shape: tuple[int, int, int]
    floor: float
    basis: CosineBasis
    coefficients: np.ndarray

    def log_gain(self, block: tuple[slice, ...] | None = None) -> np.ndarray:
        """Log of the factor that evens the image out, (Z, Y, X) float32, or a block of it."""
        block = (slice(None),) * 3 if block is None else block
        lattice = [len(axis) for axis in self.basis.axes]
        positions = [
            (np.arange(n)[part] + 0.5) * cells / n - 0.5
            for n, part, cells in zip(self.shape, block, lattice, strict=True)
        ]
        if not self.kept:
            return np.zeros([len(p) for p in positions], np.float32)
        return self.basis.resampled(positions).field(self.coefficients.astype(np.float32))

    def corrected(self, image: np.ndarray) -> np.ndarray:
        """The image under even light: float32 of its shape, or float64 if it is that."""
        image = np.asarray(image)
        kind = np.float64 if image.dtype == np.float64 else np.float32
        out: Any = image.astype(kind)
        if not self.kept:
            return np.asarray(out)
        gain = np.exp(self.log_gain()).reshape(image.shape).astype(kind)
        return np.asarray((out - self.floor) * gain + self.floor, kind)


def fit_illumination(
    image: np.ndarray,
    mask: np.ndarray | None = None,
    n_classes: int = 2,
    *,
    cycles: float = CYCLES,
) -> Illumination:
    """Fit a smooth gain together with the classes of intensity, and decide on it.

    Parameters
    ----------
    image : (Y, X) or (Z, Y, X) ndarray of numbers
        NaN is left out.
    mask : bool ndarray of the same shape, optional
        Voxels to fit on; the gain continues smoothly outside.
    n_classes : int
    cycles : float
        Waves of the finest cosine along the longest axis. Fewer in a volume where they
        would be more than 256 terms.

    Returns
    -------
    Illumination

    Raises
    ------
    InputError
        If the shapes do not fit or no finite voxel is left.

    Notes
    -----
    Three starts, no field and the field of one class alone, as fine and coarser, guard against
    a shadow taken for a class. The likeliest end whose gain varies less than fourfold (more
    would be the objects' own) is kept, if it beats the mixture without a field by BIC and the
    evened histogram asks for no logarithmic scale (:class:`gmmseg.mixture.classes.Scale`), as
    counts of photons do: objects there differ in brightness by their nature, and a gain cannot
    be told from that.
    """
    volume = as_volume(image, "image")
    inside = valid_voxels(volume, mask, np.asarray(image).shape)
    values, cells, lattice = _sample(volume, inside)
    floor = min(float(values.min()), 0.0)
    values = values - floor
    # A voxel at zero stays there whatever the gain: it says nothing of the field, and its
    # density, that of a point, would grow without bound.
    cells, values = cells[values > 0], values[values > 0]
    longest = max(lattice)
    while np.prod([np.ceil(2 * n * cycles / longest) for n in lattice]) > _MOST_TERMS:
        cycles *= 0.9
    # Free to bend over one cell: the cosines alone limit the field.
    basis = cosine_basis(lattice, (1.0, 1.0, 1.0), longest / cycles, 1.0)
    zero = np.zeros(basis.precision.shape)
    shape = (volume.shape[0], volume.shape[1], volume.shape[2])
    if len(np.unique(values)) <= n_classes or basis.precision.size == 1:
        return Illumination(False, np.zeros(1), 0.0, shape, floor, basis, zero)

    fits = [_ascend(values, cells, lattice, basis, zero, n_classes)]
    plain = fits[0][2]
    for waves in (cycles, _FEW_CYCLES):
        coarse = cosine_basis(lattice, (1.0, 1.0, 1.0), longest / waves, 1.0)
        first = np.zeros(coarse.precision.shape)
        alone = _ascend(values, cells, lattice, coarse, first, 1)[0]
        start = zero.copy()
        start[tuple(slice(n) for n in alone.shape)] = alone
        fits.append(_ascend(values, cells, lattice, basis, start, n_classes))
    charge = 0.5 * basis.precision.size * np.log(len(values)) / len(values)
    fits.sort(key=lambda fit: -fit[1][-1])
    for coefficients, trace, _ in fits:
        evidence = float(trace[-1] - plain - charge)
        gain = basis.field(coefficients).ravel()[cells]
        if np.ptp(np.quantile(gain, [0.025, 0.975])) >= _WIDEST:
            continue  # it took an object for light, which may be likelier
        if evidence <= 0 or _asks_for_logarithm(values * np.exp(gain), n_classes):
            break
        return Illumination(True, trace, evidence, shape, floor, basis, coefficients)
    _, trace, _ = fits[0]
    return Illumination(False, trace, float(trace[-1] - plain - charge), shape, floor, basis, zero)


def as_volume(image: np.ndarray, name: str) -> np.ndarray:
    """(Z, Y, X) view of an image of two or three axes, or an InputError."""
    image = np.asarray(image)
    if image.ndim not in (2, 3) or not image.size or image.dtype.kind not in "biuf":
        raise InputError(
            f"{name} must be numbers of shape (Y, X) or (Z, Y, X); got dtype {image.dtype} and "
            f"shape {image.shape}."
        )
    return image if image.ndim == 3 else image[None]


def valid_voxels(volume: np.ndarray, mask: np.ndarray | None, shape: tuple[int, ...]) -> np.ndarray:
    """Finite voxels inside the mask, bool of the volume's shape; at least one, or InputError."""
    if mask is None:
        inside = np.ones(volume.shape, bool)
    else:
        mask = np.asarray(mask)
        if mask.shape != shape:
            raise InputError(f"mask has shape {mask.shape} and image {shape}; they must agree.")
        inside = mask.astype(bool).reshape(volume.shape)
    if volume.dtype.kind == "f":
        inside = inside & np.isfinite(volume)
    if not inside.any():
        raise InputError("no finite voxel is left inside the mask; check mask and image.")
    return inside


def _sample(
    volume: np.ndarray, inside: np.ndarray
) -> tuple[np.ndarray, np.ndarray, tuple[int, int, int]]:
    """Values of a regular sample of the voxels, their cell, and the lattice of cells."""
    longest = max(volume.shape)
    lattice = [max(1, round(n * min(_CELLS, longest) / longest)) for n in volume.shape]
    thick = sum(n > 1 for n in volume.shape)
    step = max(1, round((inside.sum() / _SAMPLES) ** (1 / max(thick, 1))))
    step = min(step, max(1, longest // _CELLS))  # every cell is seen
    picks = [np.arange(min(step // 2, n - 1), n, step) for n in volume.shape]
    chosen = inside[np.ix_(*picks)]
    if not chosen.any():  # a mask finer than the step
        picks = [np.arange(n) for n in volume.shape]
        chosen = inside
    cell = [p * c // n for p, c, n in zip(picks, lattice, volume.shape, strict=True)]
    index = (cell[0][:, None, None] * lattice[1] + cell[1][:, None]) * lattice[2] + cell[2]
    values = volume[np.ix_(*picks)][chosen].astype(np.float64)
    return values, index[chosen], (lattice[0], lattice[1], lattice[2])


def _asks_for_logarithm(values: np.ndarray, n_classes: int) -> bool:
    """Whether the histogram alone parts its classes where its scale is logarithmic."""
    fit = fit_classes(*weighted_bins(values, 1024)[::-1], n_classes)
    return bool(fit.thresholds[-1] > fit.scale.origin)


def _ascend(
    values: np.ndarray,
    cells: np.ndarray,
    lattice: tuple[int, int, int],
    basis: CosineBasis,
    coefficients: np.ndarray,
    n_classes: int,
) -> tuple[np.ndarray, np.ndarray, float]:
    """Generalised EM over means, weights, one variance and the field.

    Returns the coefficients, the objective after each round, and where it began.
    """
    n, n_cells = len(values), int(np.prod(lattice))
    b = basis.field(coefficients).ravel()[cells]
    y = values * np.exp(b)
    means, weights, variance = _start(y, n_classes)
    least = 1e-6 * float(values.var())
    posterior, evidence = _expect(y, weights, means, variance)
    current = evidence + b.sum() + log_penalty(basis, coefficients)
    trace = [current / n]
    for _ in range(_MAX_ITER):
        counts = posterior.sum(axis=1)
        weights = np.maximum(counts / n, 1e-12)
        means = (posterior @ y) / np.maximum(counts, 1e-12)
        residual = y - means[:, None]
        variance = max(float((posterior * residual**2).sum()) / n, least)
        residual, square = (posterior * residual).sum(axis=0), y * y / variance
        slope = np.bincount(cells, 1.0 - residual * y / variance, n_cells).reshape(lattice)
        curvature = np.bincount(cells, square, n_cells).reshape(lattice)
        step = newton_step(basis, coefficients, slope, curvature)
        size = 1.0 / max(1.0, float(np.abs(basis.field(step)).max()))  # a factor of e at most
        before = current
        while True:
            new = coefficients + size * step
            b = basis.field(new).ravel()[cells]
            y = values * np.exp(b)
            posterior, evidence = _expect(y, weights, means, variance)
            current = evidence + b.sum() + log_penalty(basis, new)
            if current >= before or size == 0.0:
                break
            size = size / 2 if size > 1e-3 else 0.0
        coefficients = new
        if current < before:
            break  # the variance is on its floor
        trace.append(current / n)
        if current - before < _TOL * n:
            break
    return coefficients, np.array(trace), trace[0]


def _start(y: np.ndarray, n_classes: int) -> tuple[np.ndarray, np.ndarray, float]:
    """Means, weights and common variance of a first guess at the classes."""
    if n_classes == 1:
        return np.array([y.mean()]), np.ones(1), max(float(y.var()), 1e-12)
    low, high = float(y.min()), float(y.max())
    bins = np.linspace(low, high, 257)
    counts = np.histogram(y, bins)[0]
    guess = fit_classes(
        counts, 0.5 * (bins[1:] + bins[:-1]), n_classes, scale=Scale(), strength=1e3
    )
    return guess.means, guess.weights, float(guess.weights @ guess.variances)


def _expect(
    y: np.ndarray, weights: np.ndarray, means: np.ndarray, variance: float
) -> tuple[np.ndarray, float]:
    """Posteriors (K, N) and the log-likelihood in nats."""
    log = -0.5 * (y - means[:, None]) ** 2 / variance
    log += (np.log(weights) - 0.5 * np.log(2 * np.pi * variance))[:, None]
    top = log.max(axis=0)
    joint = np.exp(log - top)
    total = joint.sum(axis=0)
    return joint / total, float(top.sum() + np.log(total).sum())
