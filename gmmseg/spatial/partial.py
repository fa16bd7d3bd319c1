r"""How much of each voxel is which tissue: a model in which voxels may be mixed.

A voxel is pure, or holds two tissues in any proportion. Its intensity is the mean of its tissues'
intensities, weighted by their fractions, plus noise; neighbours have similar fractions. In
classes with one-hot fractions this is the Potts field of :mod:`gmmseg.spatial.mrf`.

With fractions :math:`\varphi`, tissue means :math:`\mu` that lie :math:`\delta_i` away from there
at voxel :math:`i`, prior :math:`a` and neighbours :math:`i \sim j` at the distance :math:`d_{ij}`,
the log density is, up to a constant,

.. math:: \sum_i \Bigl[\log \mathcal N(y_i; \varphi_i \cdot (\mu + \delta_i), \sigma^2)
    + \log p(\varphi_i) + \varphi_i \cdot \log a_i\Bigr]
    - \frac\beta2 \sum_{i \sim j} \frac{|\varphi_i - \varphi_j|^2}{d_{ij}} .

Of :math:`\log a` no less than -4 nats counts (``partial_kernels.MIN_LOG_PRIOR``): where the atlas
has next to none of a tissue it would else forbid it, and by an amount that is chance.

References
----------
Shattuck et al. (2001), doi 10.1006/nimg.2000.0730: pure and mixed classes, fractions uniform;
Tohka, Zijdenbos & Evans (2004), doi 10.1016/j.neuroimage.2004.05.007: integrating over fractions;
Rajapakse et al. (1997), doi 10.1109/42.563663: tissue means that differ from place to place.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from gmmseg.checks import InputError
from gmmseg.labels import TISSUES
from gmmseg.spatial.boxes import box_of
from gmmseg.spatial.partial_kernels import sweep_colour
from gmmseg.threads import spread

N_PARTS = 8  # a mixed class takes the fractions 1/8, 2/8 ... 7/8
PURE = (0.22, 0.22, 0.22)
MIXED = {("GM", "WM"): 0.15, ("GM", "CSF"): 0.15, ("WM", "CSF"): 0.04}
"""Weights of the classes. They are held: fitted, they go to one side, since the spread of a pure
tissue and the fractions of a mixed one explain the same intensities. White matter meets CSF at
the ventricles alone."""
COUPLING = 2.0  # nats mm
START_SHARE = 0.01  # what the starting means are worth, in brain voxels; keeps an empty tissue
GAIN = 1e-3  # nats per voxel: less than this, and the fit ends


@dataclass(frozen=True, slots=True, eq=False)
class PartialVolume:
    """Tissue fractions of one brain and the model behind them.

    Attributes
    ----------
    fractions : (X, Y, Z, 3) float32 ndarray
        Expected share of GM, WM and CSF of each voxel, sums to one in the brain, zero outside; as
        :func:`gmmseg.spatial.fractions.brain_fractions` returns it, in the order of the atlas.
    means : (3,) float64 ndarray, intensities of pure GM, WM and CSF, image units
    variance : float, of the noise, image units squared
    objective : (S,) float64 ndarray, lower bound of the log evidence after each sweep, nats per
        brain voxel, up to a constant
    by_part : bool, whether parts of the brain have means of their own, away from ``means``
    """

    fractions: np.ndarray
    means: np.ndarray
    variance: float
    objective: np.ndarray
    by_part: bool

    def summary(self, gain: float = 1.0, offset: float = 0.0) -> dict[str, object]:
        """Means, noise and objective for the record, with intensities times gain plus offset."""
        means = (self.means * gain + offset).round(6).tolist()
        return {
            "pure tissue means": dict(zip(TISSUES, means, strict=True)),
            "pure tissue by part": self.by_part,
            "noise standard deviation": round(float(np.sqrt(self.variance)) * gain, 6),
            "mixed voxels objective": self.objective.round(6).tolist(),
        }


def mixing_levels() -> tuple[np.ndarray, np.ndarray]:
    """What a voxel may hold, pure tissues first.

    Returns
    -------
    fractions : (L, 3) float32 ndarray of GM, WM, CSF, rows sum to one
    log_weight : (L,) float32 ndarray, log prior of each, nats; the weights sum to one

    >>> fractions, log_weight = mixing_levels()
    >>> fractions.shape, round(float(np.exp(log_weight).sum()), 5)
    ((24, 3), 1.0)
    """
    unit = np.eye(3)
    share = np.arange(1, N_PARTS)[:, None] / N_PARTS
    rows, weights = [unit], list(PURE)
    for a, b in combinations(range(3), 2):
        rows.append(share * unit[a] + (1 - share) * unit[b])
        weights += [MIXED[TISSUES[a], TISSUES[b]] / (N_PARTS - 1)] * (N_PARTS - 1)
    return np.concatenate(rows).astype(np.float32), np.log(weights).astype(np.float32)


def estimate_fractions(
    values: np.ndarray,
    brain: np.ndarray,
    log_prior: np.ndarray,
    spacing: Sequence[float] | np.ndarray,
    means: Sequence[float] | np.ndarray,
    variance: float,
    *,
    away: np.ndarray | None = None,
    coupling: float = COUPLING,
    n_sweeps: int = 10,
) -> PartialVolume:
    """Expected tissue fractions of every brain voxel, means and noise fitted along.

    Mean field over pure and mixed voxels in two colours, and between sweeps the tissue means and
    the noise that its sums give. Neither step lowers the objective.

    Parameters
    ----------
    values : (X, Y, Z) ndarray
        Bias-corrected intensities, image units; NaN where missing.
    brain : (X, Y, Z) bool ndarray
    log_prior : (X, Y, Z, 3) ndarray
        Log prior of GM, WM and CSF, nats; need not be normalised, but counts as -4 where it is
        less.
    spacing : (3,) voxel size, mm
    means : (3,) float
        Where the intensities of pure GM, WM and CSF start, image units.
    variance : float
        Where that of the noise starts, image units squared.
    away : (X, Y, Z, 3) ndarray, optional
        How far from these the means of GM, WM and CSF lie at each voxel, image units; held.
    coupling : float, optional
        How alike neighbours are, nats mm; 0 looks at each voxel by itself.
    n_sweeps : int, optional
        At most so many updates of means and noise; the voxels have one more.

    Returns
    -------
    PartialVolume

    Raises
    ------
    InputError
        If the arrays do not fit together, the brain is empty, or the start is no start.
    """
    start = np.asarray(means, np.float64)
    _check(values, brain, log_prior, start, variance)
    if away is not None and away.shape != log_prior.shape:
        raise InputError(f"away must be {log_prior.shape}, as log_prior is; got {away.shape}.")
    # In units of the spread of the tissues, so that the unit of the image does not matter.
    offset, unit = start.mean(), np.ptp(start)
    box = box_of(brain)
    scaled = np.ascontiguousarray((values[box] - offset) / unit, np.float32)
    inside = np.ascontiguousarray(brain[box])
    prior = np.ascontiguousarray(log_prior[box], np.float32)
    nowhere = np.zeros((1, 1, 1, 3), np.float32)
    there = nowhere if away is None else np.ascontiguousarray(away[box], np.float32)

    levels, log_weight = mixing_levels()
    by_tissue = np.ascontiguousarray(levels.T)
    weights = np.asarray(coupling / np.asarray(spacing, np.float64), np.float32)
    mean = np.zeros((*inside.shape, 3), np.float32)
    n_known = int(np.count_nonzero(inside & ~np.isnan(scaled)))
    n_brain = int(np.count_nonzero(inside))
    centre = (start - offset) / unit
    mu, scatter, held = centre, variance / unit**2, START_SHARE * n_known
    objective: list[float] = []
    for sweep in range(n_sweeps + 1):
        coupled = weights if sweep > 0 else np.zeros_like(weights)  # first each voxel by itself
        counts, sums = np.zeros((2, len(inside), len(levels)))
        squares, bound = np.zeros((2, len(inside)))
        for colour in (0, 1):
            spread(
                sweep_colour, len(inside),
                scaled, inside, prior, there, np.float32(1 / unit), by_tissue, log_weight,
                (levels @ mu).astype(np.float32), np.float32(1 / scatter), coupled, colour,
                mean, counts, sums, squares, bound,
            )  # fmt: skip
        penalty = (
            0.5 * n_known * np.log(scatter) + 0.5 * held * ((mu - centre) ** 2).sum() / scatter
        )
        objective.append((bound.sum() - penalty) / n_brain)
        if sweep > 1 and objective[-1] - objective[-2] < GAIN:
            break
        if n_known and sweep < n_sweeps:  # means and variance that explain these fractions best
            gram = (levels * counts.sum(0)[:, None]).T @ levels.astype(np.float64)
            cross = levels.T @ sums.sum(0)
            mu = np.linalg.solve(gram + held * np.eye(3), cross + held * centre)
            left = squares.sum() - 2 * mu @ cross + mu @ gram @ mu
            left += held * ((mu - centre) ** 2).sum()
            scatter = max(left / n_known, 1e-8)
    fractions = mean
    if inside.shape != brain.shape:
        fractions = np.zeros((*brain.shape, 3), np.float32)
        fractions[box] = mean
    return PartialVolume(
        fractions, mu * unit + offset, float(scatter * unit**2), np.array(objective[1:]),
        away is not None,
    )  # fmt: skip


def _check(
    values: np.ndarray,
    brain: np.ndarray,
    log_prior: np.ndarray,
    means: np.ndarray,
    variance: float,
) -> None:
    if brain.shape != values.shape or log_prior.shape != (*values.shape, 3):
        raise InputError(
            f"values, brain and log_prior must be (X, Y, Z), (X, Y, Z) and (X, Y, Z, 3); "
            f"got {values.shape}, {brain.shape} and {log_prior.shape}."
        )
    if not brain.any():
        raise InputError("The brain mask has no voxel; at least one is needed.")
    if means.shape != (3,) or not np.isfinite(means).all() or np.ptp(means) <= 0:
        raise InputError(f"means must be three finite numbers that differ; got {means.tolist()}.")
    if not variance > 0:
        raise InputError(f"variance must be above 0; got {variance:g}.")
