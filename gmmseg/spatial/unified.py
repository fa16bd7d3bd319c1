"""Mixture, bias field and atlas displacement estimated together on a coarse lattice.

The model is unified segmentation (Ashburner & Friston 2005, doi 10.1016/j.neuroimage.2005.02.018):
per sample, deformed tissue prior times mixture of the bias-corrected intensity. Each block of
parameters is improved in turn and a step is taken only where it does not lower the objective.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gmmseg.spatial import bias, deform, intensity
from gmmseg.spatial.atlas import TissueAtlas, sample_prior, score_at
from gmmseg.spatial.lattice import Lattice

# Density of values that no Gaussian explains, per unit of the brightest tissue's intensity.
TISSUE_FLOOR, OUTSIDE_FLOOR = 1e-5, 1e-3
WARM_UP = 2  # rounds before the atlas may move
SCALES = (1.0, 0.5, 0.25, 0.1)  # of a step, tried until the objective does not fall


@dataclass(frozen=True, slots=True, eq=False)
class UnifiedSettings:
    """Strengths of the priors; see ``docs/design.md`` for how they were chosen."""

    bias_cutoff_mm: float = 60.0
    bias_stiffness: float = 600.0  # mm, see bias.cosine_basis
    fit_bias: bool = True
    membrane: float = 0.5  # nats per mm of displacement squared, per lattice point
    bending: float = 3.0
    fit_displacement: bool = True
    max_rounds: int = 40
    tol: float = 1e-4  # nats per sample


@dataclass(frozen=True, slots=True, eq=False)
class UnifiedFit:
    """Parameters of the joint fit.

    Attributes
    ----------
    model : IntensityModel
    table : IntensityTable of the model, on the grid that the fit used
    class_counts : (K, B) float64 ndarray
        Samples that each class accounts for, by corrected intensity, on the grid of the table.
    basis, coefficients : CosineBasis and its coefficients; the corrected value is y exp(field)
    displacement : (n_0, n_1, n_2, 3) float32 ndarray, added in template mm
    labels : (n_0, n_1, n_2) int8 ndarray
        Most probable class of each lattice point in use; -1 elsewhere and outside a known mask.
    objective : (T,) float64 ndarray, penalised log-likelihood, nats per sample
    freedom : float
        What the freedom of the displacement costs, nats per sample: the last objective less this
        is the evidence to hold against a fit without one. 0 without one.
    """

    model: intensity.IntensityModel
    table: intensity.IntensityTable
    class_counts: np.ndarray
    basis: bias.CosineBasis
    coefficients: np.ndarray
    displacement: np.ndarray
    labels: np.ndarray
    objective: np.ndarray
    freedom: float

    @property
    def component_counts(self) -> np.ndarray:
        """(M,) samples that each component accounts for."""
        return intensity.component_sums(self.model, self.table, self.class_counts)[:, 0]


def fit_unified(
    lattice: Lattice,
    atlas: TissueAtlas,
    model: intensity.IntensityModel,
    prior: intensity.IntensityPrior,
    settings: UnifiedSettings,
    before: UnifiedFit | None = None,
) -> UnifiedFit:
    """Fit everything together.

    Parameters
    ----------
    lattice : Lattice
    atlas : TissueAtlas
    model : IntensityModel, where the mixture starts
    prior : IntensityPrior, what holds its means and variances
    settings : UnifiedSettings
    before : UnifiedFit, optional
        An earlier fit on the same lattice, whose displacement and bias field are taken up, as far
        as they are to be fitted.

    Returns
    -------
    UnifiedFit
    """
    joint = _Joint(lattice, atlas, model, prior, settings)
    if before is not None:
        joint.take_up(before)
    return joint.run(WARM_UP if before is None else 0)


class _Joint:
    """Working arrays of one joint fit, and its moves; none of them lowers the objective."""

    def __init__(
        self,
        lattice: Lattice,
        atlas: TissueAtlas,
        model: intensity.IntensityModel,
        prior: intensity.IntensityPrior,
        settings: UnifiedSettings,
    ) -> None:
        self.lattice, self.atlas, self.settings, self.model = lattice, atlas, settings, model
        self.where = np.flatnonzero(lattice.used)
        self.base = lattice.points(atlas)
        self.to_voxel = np.linalg.inv(atlas.affine)[:3, :3]
        self.raw = self._samples(lattice.values)
        self.outside = self._samples(lattice.outside)
        n, k = len(self.raw), len(atlas.names)
        self.n = n
        self.likelihood = np.empty((n, k))
        self.derivatives = np.empty((2, n))
        known = self.raw[~self.outside]
        floor = np.where(np.arange(k) < atlas.n_inside, TISSUE_FLOOR, OUTSIDE_FLOOR)
        self.floor = floor / np.quantile(known, 0.98)
        self.range = (min(0.0, known.min()), 1.5 * known.max())
        self.class_prior = np.empty((n, k), np.float32)
        shape = lattice.values.shape
        self.basis = bias.cosine_basis(
            shape, lattice.spacing, settings.bias_cutoff_mm, settings.bias_stiffness
        )
        self.coefficients = np.zeros(self.basis.precision.shape)
        self.log_field = np.zeros(n)
        self.elastic = deform.elasticity(
            shape, lattice.spacing, membrane=settings.membrane, bending=settings.bending
        )
        self.prior = prior
        self._move_to(np.zeros((*shape, 3), np.float32), 0.0)

    def take_up(self, before: UnifiedFit) -> None:
        """Start from the displacement and the bias field of an earlier fit."""
        if self.settings.fit_displacement:
            self._move_to(before.displacement, self.elastic.penalty(before.displacement))
        if self.settings.fit_bias:
            self.coefficients = before.coefficients
            self.log_field = self._samples(self.basis.field(self.coefficients))

    def run(self, warm_up: int = WARM_UP) -> UnifiedFit:
        """Make the moves in turn until the objective stops rising.

        The first rounds, ``warm_up`` of them, are for the mixture alone, then with the bias field.
        """
        settings = self.settings
        trace: list[float] = []
        value = self._expect()
        trace.append(value)
        for round_ in range(settings.max_rounds):
            before = value
            for _ in range(3):
                value = self._mixture_move()
                trace.append(value)
            if settings.fit_bias and round_ >= min(warm_up, 1):
                value = self._bias_move(value)
                trace.append(value)
            if settings.fit_displacement and round_ >= warm_up:
                value = self._displacement_move(value)
                trace.append(value)
            if round_ > warm_up + 1 and value - before < settings.tol:
                break
        return UnifiedFit(
            self.model, self.table, self.counts, self.basis, self.coefficients,
            self.displacement, self._labels(), np.array(trace), self._freedom(),
        )  # fmt: skip

    def _labels(self) -> np.ndarray:
        labels = np.full(self.lattice.shape, -1, np.int8)
        labels.ravel()[self.where] = (self.class_prior * self.likelihood).argmax(1)
        labels[self.lattice.outside] = -1
        return labels

    # -- state ---------------------------------------------------------------------------------

    def _samples(self, field: np.ndarray) -> np.ndarray:
        """Values of an array over the lattice at the points in use."""
        inner = field.shape[3:]
        return field.reshape(-1, *inner).take(self.where, axis=0)

    def _voxels(self, displacement: np.ndarray) -> np.ndarray:
        """Atlas voxel coordinates of the samples under a displacement."""
        return self.base + self._samples(displacement) @ self.to_voxel.T

    def _move_to(self, displacement: np.ndarray, energy: float) -> None:
        """Sample the prior under a displacement whose energy is known."""
        self.displacement, self.energy = displacement, energy
        points = self._voxels(displacement)
        sample_prior(self.atlas.maps, points, self.class_prior)

    def _expect(self) -> float:
        """E-step at the present parameters; returns the objective."""
        self.table = intensity.tabulate(self.model, *self.range, self.floor)
        t = self.table
        self.counts, total = intensity.expectation(
            self.raw * np.exp(self.log_field), self.outside, self.class_prior,
            t.low, t.width, t.density, t.slope, t.curvature, self.likelihood, self.derivatives,
        )  # fmt: skip
        total += self.log_field[~self.outside].sum()  # Jacobian of the correction
        penalty = self.prior.log_density(self.model) - self.energy
        penalty += bias.log_penalty(self.basis, self.coefficients)
        return float(total + penalty) / self.n

    # -- moves ---------------------------------------------------------------------------------

    def _mixture_move(self) -> float:
        sums = intensity.component_sums(self.model, self.table, self.counts)
        self.model = intensity.maximise(self.model, sums, self.prior)
        return self._expect()

    def _bias_move(self, value: float) -> float:
        lattice_slope = np.zeros(self.lattice.values.shape)
        lattice_curvature = np.zeros_like(lattice_slope)
        lattice_slope.ravel()[self.where] = self.derivatives[0]
        lattice_curvature.ravel()[self.where] = self.derivatives[1]
        step = bias.newton_step(self.basis, self.coefficients, lattice_slope, lattice_curvature)
        old, old_field = self.coefficients, self.log_field
        for scale in SCALES:
            self.coefficients = old + scale * step
            self.log_field = self._samples(self.basis.field(self.coefficients))
            new = self._expect()
            if new >= value:
                return new
        self.coefficients, self.log_field = old, old_field
        return self._expect()

    def _score(self) -> np.ndarray:
        """Gradient of the log-likelihood by the displacement at each lattice point, nats per mm."""
        score, evidence = np.empty((self.n, 3)), np.empty(self.n)
        points = self._voxels(self.displacement)
        score_at(self.atlas.maps, points, self.likelihood, evidence, score)
        lattice_score = np.zeros((*self.lattice.values.shape, 3), np.float32)
        lattice_score.reshape(-1, 3)[self.where] = score @ self.to_voxel
        return lattice_score

    def _freedom(self) -> float:
        if not self.settings.fit_displacement:
            return 0.0
        return self.elastic.cost_of_freedom(self._score()) / self.n

    def _displacement_move(self, value: float) -> float:
        step = self.elastic.step(self.displacement, self._score())
        old, old_energy = self.displacement, self.energy
        for scale in SCALES:
            trial = old + np.float32(scale) * step
            self._move_to(trial, self.elastic.penalty(trial))
            new = self._expect()
            if new >= value:
                return new
        self._move_to(old, old_energy)
        return self._expect()
