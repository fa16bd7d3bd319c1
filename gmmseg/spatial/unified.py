"""Mixture, bias field and atlas displacement estimated together on a coarse lattice.

The model is unified segmentation (Ashburner & Friston 2005, doi 10.1016/j.neuroimage.2005.02.018):
per sample, deformed tissue prior times mixture of the bias-corrected intensity. Each block of
parameters is improved in turn and a step is taken only where it does not lower the objective.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gmmseg.spatial import bias, deform, intensity, intensity_pass
from gmmseg.spatial.atlas import TissueAtlas
from gmmseg.spatial.lattice import Lattice
from gmmseg.spatial.sampling import sample_prior, score_at

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
    membrane: float = 0.5  # nats per lattice point and squared slope of the displacement
    bending: float = 3.0  # nats mm^2 per lattice point and squared Laplacian
    fit_displacement: bool = True
    max_rounds: int = 40
    tol: float = 2e-4  # nats per sample


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
    bend, scale : coefficients of the displacement, and the share of a step that is tried next
        From where a further fit goes on.
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
    bend: np.ndarray
    scale: float

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
        known = self.raw[~self.outside]
        floor = np.where(np.arange(k) < atlas.n_inside, TISSUE_FLOOR, OUTSIDE_FLOOR)
        self.floor = floor / np.quantile(known, 0.98)
        self.range = (min(0.0, known.min()), 1.5 * known.max())
        self.class_prior = np.empty((n, k), np.float32)
        self.rows = np.empty(n, np.int32)
        shape = lattice.shape
        self.basis = bias.cosine_basis(
            shape, lattice.spacing, settings.bias_cutoff_mm, settings.bias_stiffness
        )
        self._correct_by(np.zeros(self.basis.precision.shape))
        self.elastic = deform.elasticity(
            shape, lattice.spacing, membrane=settings.membrane, bending=settings.bending
        )
        self.prior = prior
        self.scale = SCALES[0]
        self._move_to(np.zeros((3, *self.elastic.eigenvalues.shape), np.float32))

    def take_up(self, before: UnifiedFit) -> None:
        """Start from the displacement and the bias field of an earlier fit."""
        if self.settings.fit_displacement:
            self._move_to(before.bend)
            self.scale = before.scale
        if self.settings.fit_bias:
            self._correct_by(before.coefficients)

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
        field = self.elastic.field(self.bend)
        displacement = np.ascontiguousarray(np.moveaxis(field, 0, -1))
        return UnifiedFit(
            self.model, self.table, self.counts, self.basis, self.coefficients,
            displacement, self._labels(), np.array(trace), self._freedom(), self.bend, self.scale,
        )  # fmt: skip

    def _labels(self) -> np.ndarray:
        labels = np.full(self.lattice.shape, -1, np.int8)
        found = intensity_pass.likeliest(self.rows, self.class_prior, self.density)
        labels.ravel()[self.where] = found
        labels[self.lattice.outside] = -1
        return labels

    # -- state ---------------------------------------------------------------------------------

    def _samples(self, field: np.ndarray) -> np.ndarray:
        """Values of an array over the lattice at the points in use."""
        return field.ravel().take(self.where)

    def _correct_by(self, coefficients: np.ndarray) -> None:
        """Take up a bias field."""
        self.coefficients = coefficients
        log_field = self._samples(self.basis.field(coefficients))
        low, high = self.range
        width = (high - low) / (intensity.N_GRID - 1)
        intensity_pass.rows_of(
            self.raw, log_field, self.outside, low, width, intensity.N_GRID, self.rows
        )
        # Log prior of the field, and the Jacobian of the correction.
        self.field_value = bias.log_penalty(self.basis, coefficients)
        self.field_value += float(log_field[~self.outside].sum())

    def _move_to(self, bend: np.ndarray) -> None:
        """Sample the prior under a displacement, given by its coefficients."""
        self.bend, self.energy = bend, self.elastic.energy(bend)
        field = self.elastic.field(bend).reshape(3, -1)
        self.points = deform.displaced(self.base, field, self.where, self.to_voxel)
        sample_prior(self.atlas.maps, self.points, self.class_prior)

    def _expect(self) -> float:
        """E-step at the present parameters; returns the objective."""
        self.table = intensity.tabulate(self.model, *self.range, self.floor)
        self.density = self.table.rows
        self.counts, total = intensity_pass.expectation(self.rows, self.class_prior, self.density)
        total += self.field_value + self.prior.log_density(self.model) - self.energy
        return float(total) / self.n

    # -- moves ---------------------------------------------------------------------------------

    def _mixture_move(self) -> float:
        sums = intensity.component_sums(self.model, self.table, self.counts)
        self.model = intensity.maximise(self.model, sums, self.prior)
        return self._expect()

    def _bias_move(self, value: float) -> float:
        derivatives = np.empty((2, self.n))
        t = self.table
        intensity_pass.field_derivatives(
            self.rows, self.class_prior, t.density, t.slope, t.curvature, derivatives
        )
        slope, curvature = np.zeros((2, *self.lattice.shape))
        slope.ravel()[self.where], curvature.ravel()[self.where] = derivatives
        step = bias.newton_step(self.basis, self.coefficients, slope, curvature)
        old = self.coefficients
        for scale in SCALES:
            self._correct_by(old + scale * step)
            new = self._expect()
            if new >= value:
                return new
        self._correct_by(old)
        return self._expect()

    def _score(self) -> np.ndarray:
        """Gradient of the log-likelihood by the displacement at each lattice point, nats per mm."""
        by_voxel = np.empty((self.n, 3))
        score_at(self.atlas.maps, self.points, self.rows, self.density, by_voxel)
        score = np.zeros((3, *self.lattice.shape), np.float32)
        deform.pulled_back(by_voxel, self.where, self.to_voxel, score.reshape(3, -1))
        return score

    def _freedom(self) -> float:
        if not self.settings.fit_displacement:
            return 0.0
        return self.elastic.cost_of_freedom(self._score()) / self.n

    def _displacement_move(self, value: float) -> float:
        """Half as much again of a step as was good before, and then halves of that."""
        step = self.elastic.step(self.bend, self._score())
        old, scale = self.bend, self.scale
        for trial in range(len(SCALES)):
            self._move_to(old + np.float32(scale) * step)
            new = self._expect()
            if new >= value:
                self.scale = min(1.0, 1.5 * scale) if trial == 0 else scale
                return new
            scale *= 0.5
        self._move_to(old)
        return self._expect()
