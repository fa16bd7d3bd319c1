"""Affine alignment of the atlas to an image, driven by the likelihood of its intensities.

No intensity model is assumed: each prior class has a histogram of its own, learnt while the
alignment is sought, so that what is maximised is the information that intensities carry about
classes (cf. D'Agostino et al. 2006, doi 10.1016/j.media.2005.11.001).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
from scipy import ndimage

from gmmseg.affines import voxel_sizes
from gmmseg.checks import InputError
from gmmseg.spatial.affine_pass import evidence_under, learn_histograms, score_under
from gmmseg.spatial.atlas import Blurred, TissueAtlas
from gmmseg.spatial.boxes import box_of
from gmmseg.spatial.foreground import head_foreground
from gmmseg.spatial.information import place_information
from gmmseg.spatial.starts import Start, starting_points
from gmmseg.spatial.trend import head_trend
from gmmseg.threads import spread_calls

N_BINS = 64
MIN_SAMPLES, N_SAMPLES = 200, 25000  # at least, and as many or somewhat more of what there is
N_REFINED = 4
"""Places that starts lead to in the coarse stage and that are refined. The coarse atlas does not
tell well which is right, but brings most starts to the same few places."""
FIRST_STEPS, EM_STEPS = 6, 16
"""Steps of EM of the histograms before the first step of the map, and after each: they are cheap,
and converge slowly."""
NEAR_MM = 20.0  # around a known brain, what takes part in its alignment
PSEUDO_SAMPLES = 10.0  # added to each histogram, spread evenly: keeps empty bins possible
BRAIN_CORNERS_MM = np.array([[*xyz, 1.0] for xyz in product((-60, 60), (-80, 60), (-40, 60))])
SAME_MM = 8.0  # root mean square of corners of the brain: nearer fits end in the same place
LEAST_SIZE = 0.1  # of the scan along any direction, once aligned: no head is ten times too large
STRETCH_WEIGHT = 0.5  # nats per voxel for a unit of squared strain: a tenth of strain costs .005


@dataclass(frozen=True, slots=True, eq=False)
class AffineFit:
    """An affine map from world mm to template mm, and how well it explains the image.

    Attributes
    ----------
    matrix : (4, 4) float64 ndarray
    objective : (T,) float64 ndarray
        Penalised log-likelihood, nats per sample, before each round of the finest stage and at its
        end: of the intensities, less the strain of the map and the cost of its size, plus the
        Dirichlet log prior of the histograms up to a constant. Never falling: the map moves uphill
        only, and the histograms are learnt by EM.
    histograms : (K, B) float64 ndarray, intensity distribution of each prior class
    information : float
        What the place of samples in the brain tells of their intensity, nats per sample of all.
    size, cost : float, those of the start that led here
    """

    matrix: np.ndarray
    objective: np.ndarray
    histograms: np.ndarray
    information: float
    size: float
    cost: float

    @property
    def merit(self) -> float:
        """By what places are compared: the objective, with what the brain tells counted twice.

        Most of a head may be face and neck, of which the atlas knows little. Where the brain is
        not, classes of tissue tell nothing apart, but they may describe the rest better.
        """
        return float(self.objective[-1]) + self.information

    def again(self) -> Start:
        """Where to climb on from."""
        return Start(self.matrix, self.size, self.cost)

    def summary(self) -> dict[str, object]:
        """The map and the way to it, for the record."""
        return {
            "affine": self.matrix.round(5).tolist(),
            "affine objective": self.objective.round(6).tolist(),
        }


def fit_affine(
    points: np.ndarray,
    bins: np.ndarray,
    atlas: Blurred,
    starts: Sequence[Start],
) -> AffineFit:
    """Align the atlas to samples of an image, from several starts, coarse to fine.

    Parameters
    ----------
    points : (N, 3) float64 ndarray, world coordinates of the samples, mm (RAS+)
    bins : (N,) integer ndarray, intensity bin of each sample, in 0..N_BINS-1
    atlas : Blurred
    starts : sequence of Start

    Returns
    -------
    AffineFit, the best by :attr:`AffineFit.merit`

    Raises
    ------
    InputError
        If that squeezes the image to next to nothing, or mirrors it: the image shows no head.

    References
    ----------
    D'Agostino et al. (2006), doi 10.1016/j.media.2005.11.001: class prior maps aligned by the
    information between classes and intensities.
    """
    coarse, fine = atlas.coarse, atlas.fine
    thin = slice(None, None, 4)
    first = spread_calls(
        lambda start: _climb(points[thin], bins[thin], coarse, start, n_iter=30, tol=1e-4),
        starts,
    )
    second = spread_calls(
        lambda fit: _climb(points, bins, fine, fit.again(), n_iter=40, tol=1e-4),
        _distinct(first)[:N_REFINED],
    )
    best = max(second, key=lambda fit: fit.merit)
    # Histograms creep on for long; stopping early would leave the map where it came from.
    fit = _climb(points, bins, fine, best.again(), n_iter=200, tol=1e-8)
    least = np.linalg.svd(fit.matrix[:3, :3], compute_uv=False).min()
    if least < LEAST_SIZE or np.linalg.det(fit.matrix[:3, :3]) < 0:
        raise InputError(
            "The template cannot be laid on the image without flattening or mirroring it: it seems "
            "to show no head or brain. Check the image, and the voxel size in its header."
        )
    return fit


def fit_head(values: np.ndarray, affine: np.ndarray, atlas: Blurred) -> AffineFit:
    """Align the atlas to a whole head.

    Parameters
    ----------
    values : (X, Y, Z) float ndarray, a coarse image (about 3 mm); NaN where missing
    affine : (4, 4) ndarray, its voxel index to world mm
    atlas : Blurred, of the atlas with the head around the brain

    Returns
    -------
    AffineFit

    Raises
    ------
    InputError
        If nothing stands out from the background.
    """
    filled = np.nan_to_num(values)
    head = head_foreground(filled, _spacing(affine))
    if np.count_nonzero(head) < MIN_SAMPLES:
        raise InputError("No head stands out from the background of the image.")
    index = np.argwhere(head)
    places = index @ affine[:3, :3].T + affine[:3, 3]
    bins = _binned(filled[head] * np.exp(-head_trend(filled[head], places)), N_BINS)
    keep = slice(None, None, max(1, len(index) // N_SAMPLES))
    points = places[keep]
    return fit_affine(points, bins[keep], atlas, starting_points(points))


def fit_masked(
    values: np.ndarray, mask: np.ndarray, affine: np.ndarray, atlas: Blurred
) -> AffineFit:
    """Align the atlas to a brain whose mask is known.

    What lies outside the mask has one bin of its own, so that the mask's edge takes part.

    Parameters
    ----------
    values : (X, Y, Z) float ndarray, a coarse image (about 3 mm); NaN where missing
    mask : (X, Y, Z) bool ndarray, the brain
    affine : (4, 4) ndarray, voxel index to world mm
    atlas : Blurred, of the atlas with the head around the brain

    Returns
    -------
    AffineFit

    Raises
    ------
    InputError
        If the mask has fewer than ``MIN_SAMPLES`` voxels.
    """
    if np.count_nonzero(mask) < MIN_SAMPLES:
        raise InputError("The brain mask is too small to align an atlas to.")
    spacing, near = _spacing(affine), np.zeros(mask.shape, bool)
    box = box_of(mask, np.ceil(NEAR_MM / spacing).astype(int).tolist())
    near[box] = ndimage.distance_transform_edt(~mask[box], sampling=spacing) < NEAR_MM
    index, inside = np.argwhere(near), mask[near]
    bins = np.zeros(len(index), int)
    bins[inside] = 1 + _binned(np.nan_to_num(values[near][inside]), N_BINS - 1)
    keep = slice(None, None, max(1, len(index) // N_SAMPLES))
    points = index @ affine[:3, :3].T + affine[:3, 3]
    starts = starting_points(points[inside], alone=True)
    return fit_affine(points[keep], bins[keep], atlas, starts)


def _spacing(affine: np.ndarray) -> np.ndarray:
    """Voxel size, mm, free of the rounding of a turned header: equal grids, equal samples."""
    return voxel_sizes(affine).round(4)


def _binned(values: np.ndarray, n_bins: int) -> np.ndarray:
    """Equal bins between the 0.2 and 99.5 per cent quantiles, 0..n_bins-1."""
    low, high = np.quantile(values, [0.002, 0.995])
    place = (values - low) / max(high - low, 1e-30) * n_bins
    return np.clip(place, 0, n_bins - 1).astype(int)  # a stray value may be beyond any int


def _distinct(fits: Sequence[AffineFit]) -> list[AffineFit]:
    """Fits best first, without those that lay a brain of a size where a better one does."""
    found: list[tuple[np.ndarray, AffineFit]] = []
    for fit in sorted(fits, key=lambda fit: -fit.merit):
        corners = BRAIN_CORNERS_MM @ np.linalg.inv(fit.matrix)[:3].T
        apart = [
            np.sqrt(((corners - other) ** 2).sum(1).mean())
            for other, better in found
            if better.size == fit.size
        ]
        if not apart or min(apart) > SAME_MM:
            found.append((corners, fit))
    return [fit for _, fit in found]


def _penalty(matrix: np.ndarray, size: float) -> tuple[float, np.ndarray, np.ndarray]:
    """Half-squared-strain penalty of the 3 x 3 part; its gradient and Gauss-Newton Hessian.

    A map that stretches everything by ``size`` is free of strain.
    """
    a = matrix[:3, :3] / size
    strain = 0.5 * (a.T @ a - np.eye(3))
    value = STRETCH_WEIGHT * float((strain**2).sum())
    jacobian = np.empty((9, 9))
    for i in range(9):
        unit = np.zeros(9)
        unit[i] = 1.0 / size
        da = unit.reshape(3, 3)
        jacobian[:, i] = (0.5 * (da.T @ a + a.T @ da)).ravel()
    gradient = 2 * STRETCH_WEIGHT * jacobian.T @ strain.ravel()
    return value, gradient, 2 * STRETCH_WEIGHT * jacobian.T @ jacobian


def _climb(
    points: np.ndarray,
    bins: np.ndarray,
    atlas: TissueAtlas,
    start: Start,
    *,
    n_iter: int,
    tol: float,
) -> AffineFit:
    """Alternate histogram updates and damped Gauss-Newton steps from one start."""
    to_voxel = np.linalg.inv(atlas.affine)
    n = len(points)
    centre = points.mean(0)
    local = (points - centre) / 100.0  # of order one: well scaled
    unlocal = np.diag([0.01, 0.01, 0.01, 1.0])
    unlocal[:3, 3] = -centre / 100.0
    relocal = np.linalg.inv(unlocal)
    bins = np.asarray(bins, np.int64)
    matrix = np.array(start.matrix, dtype=np.float64)
    prior = np.empty((n, atlas.maps.shape[-1]), np.float32)

    def voxels(m: np.ndarray) -> np.ndarray:
        """Local coordinates to atlas voxels under the map ``m``."""
        return np.ascontiguousarray((to_voxel @ m @ relocal)[:3])

    def known(m: np.ndarray) -> float:
        """What the map ``m`` and the histograms cost by themselves, nats per sample."""
        dirichlet = PSEUDO_SAMPLES / N_BINS * np.log(histograms).sum() / n
        return float(dirichlet - _penalty(m, start.size)[0] - start.cost)

    def score(m: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
        """Penalised log-likelihood, and derivatives of the likelihood by ``voxels(m)``."""
        density = np.ascontiguousarray(histograms.T)
        total, slope, squares = score_under(atlas.maps, voxels(m), local, density, bins)
        return total / n + known(m), slope.ravel() / n, squares.reshape(12, 12) / n

    def objective(m: np.ndarray) -> float:
        """Penalised log-likelihood; leaves the class priors at the samples in ``prior``."""
        density = np.ascontiguousarray(histograms.T)
        return float(
            evidence_under(atlas.maps, voxels(m), local, density, bins, prior) / n + known(m)
        )

    histograms, pseudo = np.ones((atlas.maps.shape[-1], N_BINS)), PSEUDO_SAMPLES / N_BINS
    objective(matrix)
    histograms = learn_histograms(prior, bins, histograms, FIRST_STEPS, pseudo)
    trace, damping = [], 1e-3
    to_linear = np.zeros((9, 12))
    for i in range(3):
        to_linear[3 * i : 3 * i + 3, 4 * i : 4 * i + 3] = np.eye(3) / 100.0
    turn = np.kron(to_voxel[:3, :3], np.eye(4))  # change of `voxels` for that of the local map
    value, slope, squares = score(matrix)
    for _ in range(n_iter):
        trace.append(value)
        _, pull, stiffness = _penalty(matrix, start.size)
        # parameters: 3 x 4 matrix acting on the local coordinates
        gradient = turn.T @ slope - to_linear.T @ pull
        hessian = turn.T @ squares @ turn
        hessian += to_linear.T @ stiffness @ to_linear
        improved = False
        for _ in range(8):
            try:
                step = np.linalg.solve(hessian + damping * np.diag(np.diag(hessian)), gradient)
            except np.linalg.LinAlgError:  # flat: there is no way up from here
                break
            trial = matrix.copy()
            trial[:3] += step.reshape(3, 4) @ unlocal
            if objective(trial) > value:
                improved = True
                damping = max(damping / 3, 1e-4)
                break
            damping *= 4
        if not improved:
            break
        before, matrix = value, trial
        histograms = learn_histograms(prior, bins, histograms, EM_STEPS, pseudo)
        value, slope, squares = score(matrix)
        if value - before < tol:
            break
    trace.append(value)
    objective(matrix)
    brain, density = prior[:, : atlas.n_inside], histograms[: atlas.n_inside, bins].T
    inside = brain.sum(axis=1, dtype=np.float64)
    told = inside.mean() * place_information(brain, density, inside) if inside.any() else 0.0
    return AffineFit(matrix, np.array(trace), histograms, float(told), start.size, start.cost)
