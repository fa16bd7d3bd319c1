"""Mixture, bias field and atlas displacement estimated together on a coarse lattice.

The model is unified segmentation (Ashburner & Friston 2005, doi 10.1016/j.neuroimage.2005.02.018):
per sample, deformed tissue prior times mixture of the bias-corrected intensity. Each block of
parameters is improved in turn and a step is taken only where it does not lower the objective.
"""

from dataclasses import dataclass, replace

import numpy as np
from scipy import ndimage

from gmmseg.spatial import bias, deform, intensity
from gmmseg.spatial.atlas import TissueAtlas, sample_prior, score_at


# Density of values that no Gaussian explains; intensities are scaled so that tissue ends near 100.
TISSUE_FLOOR, OUTSIDE_FLOOR = 1e-7, 1e-5


@dataclass(frozen=True, slots=True, eq=False)
class Lattice:
    """Samples of an image on a regular coarse lattice.

    Attributes
    ----------
    values : (n_0, n_1, n_2) float64 ndarray, intensities
    used : (n_0, n_1, n_2) bool ndarray, which lattice points take part
    outside : (n_0, n_1, n_2) bool ndarray, points known to lie outside the brain
    spacing : (3,) float64, mm
    to_template : (4, 4) float64 ndarray, lattice index to template mm (the affine alignment)
    """

    values: np.ndarray
    used: np.ndarray
    outside: np.ndarray
    spacing: np.ndarray
    to_template: np.ndarray

    def scaled(self, factor):
        """Return the lattice with intensities multiplied by ``factor``."""
        return replace(self, values=self.values * factor)

    def points(self, atlas):
        """(N, 3) atlas voxel coordinates of the lattice points in use, before any displacement."""
        matrix = np.linalg.inv(atlas.affine) @ self.to_template
        index = np.column_stack(np.nonzero(self.used)).astype(np.float64)
        return index @ matrix[:3, :3].T + matrix[:3, 3]


def prior_at(lattice, atlas):
    """(N, K) float32 class prior of the lattice points in use."""
    prior = np.empty((np.count_nonzero(lattice.used), len(atlas.names)), np.float32)
    sample_prior(atlas.maps, lattice.points(atlas), prior)
    return prior


def near_brain(shape, spacing, to_template, atlas, margin_mm):
    """(n_0, n_1, n_2) bool: lattice points within ``margin_mm`` of the aligned atlas brain."""
    everywhere = Lattice(np.empty(shape), np.ones(shape, bool), None, spacing, to_template)
    brain = prior_at(everywhere, atlas)[:, : atlas.n_inside].sum(1).reshape(shape) > 0.2
    return ndimage.distance_transform_edt(~brain, sampling=spacing) < margin_mm


@dataclass(frozen=True, slots=True, eq=False)
class UnifiedSettings:
    """Strengths of the priors; see ``docs/design.md`` for how they were chosen."""

    bias_cutoff_mm: float = 60.0
    bias_stiffness: float = 400.0  # mm, see bias.cosine_basis
    fit_bias: bool = True
    membrane: float = 0.02  # nats per mm of displacement squared, per lattice point
    bending: float = 1.0
    fit_displacement: bool = True
    fit_weights: bool = False
    max_rounds: int = 20
    tol: float = 3e-4  # nats per sample


@dataclass(frozen=True, slots=True, eq=False)
class UnifiedFit:
    """Parameters of the joint fit.

    Attributes
    ----------
    model : IntensityModel
    table : IntensityTable of the model, on the grid that the fit used
    component_counts : (M,) float64 ndarray, samples that each component accounts for
    class_weights : (K,) float64 ndarray, factor on the prior of each class
    basis, coefficients : CosineBasis and its coefficients; the corrected value is y exp(field)
    displacement : (n_0, n_1, n_2, 3) float32 ndarray, added in template mm
    objective : (T,) float64 ndarray, penalised log-likelihood, nats per sample
    """

    model: intensity.IntensityModel
    table: intensity.IntensityTable
    component_counts: np.ndarray
    class_weights: np.ndarray
    basis: bias.CosineBasis
    coefficients: np.ndarray
    displacement: np.ndarray
    objective: np.ndarray


def fit_unified(lattice: Lattice, atlas: TissueAtlas, model, prior, settings: UnifiedSettings):
    """Fit everything together.

    Parameters
    ----------
    lattice : Lattice
    atlas : TissueAtlas
    model : IntensityModel, where the mixture starts
    prior : IntensityPrior, what holds its means and variances
    settings : UnifiedSettings

    Returns
    -------
    UnifiedFit
    """
    return _Joint(lattice, atlas, model, prior, settings).run()


class _Joint:
    """Working arrays of one joint fit, and its moves; none of them lowers the objective."""

    def __init__(self, lattice, atlas, model, prior, settings):
        self.lattice, self.atlas, self.settings, self.model = lattice, atlas, settings, model
        self.where = np.nonzero(lattice.used)
        self.base = lattice.points(atlas)
        self.to_voxel = np.linalg.inv(atlas.affine)[:3, :3]
        self.raw = lattice.values[self.where]
        self.outside = lattice.outside[self.where]
        n, k = len(self.raw), len(atlas.names)
        self.n = n
        self.floor = np.where(np.arange(k) < atlas.n_inside, TISSUE_FLOOR, OUTSIDE_FLOOR)
        self.likelihood = np.empty((n, k))
        self.derivatives = np.empty((2, n))
        known = self.raw[~self.outside]
        self.range = (min(0.0, known.min()), 1.5 * known.max())
        self.maps_prior = np.empty((n, k), np.float32)
        self.class_weights = np.ones(k)
        shape = lattice.values.shape
        self.basis = bias.cosine_basis(
            shape, lattice.spacing, settings.bias_cutoff_mm, settings.bias_stiffness
        )
        self.coefficients = np.zeros(self.basis.precision.shape)
        self.log_field = np.zeros(n)
        self.elastic = deform.elasticity(
            shape, lattice.spacing, membrane=settings.membrane, bending=settings.bending
        )
        self.displacement = np.zeros((*shape, 3), np.float32)
        self.prior = prior
        self._sample()

    def run(self):
        settings, trace = self.settings, []
        value = self._expect()
        trace.append(value)
        for round_ in range(settings.max_rounds):
            before = value
            for _ in range(3):
                value = self._mixture_move()
                trace.append(value)
            if settings.fit_bias and round_ >= 1:
                value = self._bias_move(value)
                trace.append(value)
            if settings.fit_displacement and round_ >= 2:
                value = self._displacement_move(value)
                trace.append(value)
            if round_ > 3 and value - before < settings.tol:
                break
        sums = intensity.component_sums(self.model, self.table, self.counts)
        return UnifiedFit(
            self.model, self.table, sums[:, 0], self.class_weights, self.basis, self.coefficients,
            self.displacement, np.array(trace),
        )  # fmt: skip

    # -- state ---------------------------------------------------------------------------------

    def _voxels(self, displacement):
        """Atlas voxel coordinates of the samples under a displacement."""
        return self.base + displacement[self.where] @ self.to_voxel.T

    def _sample(self):
        sample_prior(self.atlas.maps, self._voxels(self.displacement), self.maps_prior)

    def _class_prior(self):
        prior = self.maps_prior * self.class_weights.astype(np.float32)
        prior /= prior.sum(1, keepdims=True)
        return prior

    def _penalties(self):
        return (
            self.prior.log_density(self.model)
            + bias.log_penalty(self.basis, self.coefficients)
            - self.elastic.penalty(self.displacement)
        )

    def _expect(self):
        """E-step at the present parameters; returns the objective."""
        self.table = intensity.tabulate(self.model, *self.range, self.floor)
        t = self.table
        self.counts, total = intensity.expectation(
            self.raw * np.exp(self.log_field), self.outside, self._class_prior(),
            t.low, t.width, t.density, t.slope, t.curvature, self.likelihood, self.derivatives,
        )  # fmt: skip
        total += self.log_field[~self.outside].sum()  # Jacobian of the correction
        return (total + self._penalties()) / self.n

    # -- moves ---------------------------------------------------------------------------------

    def _mixture_move(self):
        sums = intensity.component_sums(self.model, self.table, self.counts)
        self.model = intensity.maximise(self.model, sums, self.prior)
        if self.settings.fit_weights:
            self._weights_move()
        return self._expect()

    def _weights_move(self):
        """Class weights by minorisation (Hunter 2004): never lowers the likelihood."""
        prior = self._class_prior()
        joint = prior * self.likelihood
        joint /= joint.sum(1, keepdims=True)
        expected = (self.maps_prior / (self.maps_prior @ self.class_weights)[:, None]).sum(0)
        weights = (joint.sum(0) + 1.0) / (expected + 1.0)
        self.class_weights = weights / weights.max()

    def _bias_move(self, value):
        lattice_slope = np.zeros(self.lattice.values.shape)
        lattice_curvature = np.zeros_like(lattice_slope)
        lattice_slope[self.where] = self.derivatives[0]
        lattice_curvature[self.where] = self.derivatives[1]
        step = bias.newton_step(self.basis, self.coefficients, lattice_slope, lattice_curvature)
        old, old_field = self.coefficients, self.log_field
        for scale in (1.0, 0.5, 0.25, 0.1):
            self.coefficients = old + scale * step
            self.log_field = self.basis.field(self.coefficients)[self.where]
            new = self._expect()
            if new >= value:
                return new
        self.coefficients, self.log_field = old, old_field
        return self._expect()

    def _displacement_move(self, value):
        score, base_score = np.empty((self.n, 3)), np.empty((self.n, 3))
        evidence = np.empty(self.n)
        points = self._voxels(self.displacement)
        score_at(self.atlas.maps, points, self.likelihood * self.class_weights, evidence, score)
        flat = np.broadcast_to(self.class_weights, self.likelihood.shape)
        score_at(self.atlas.maps, points, np.ascontiguousarray(flat), evidence, base_score)
        lattice_score = np.zeros((*self.lattice.values.shape, 3), np.float32)
        lattice_score[self.where] = (score - base_score) @ self.to_voxel
        step = self.elastic.step(self.displacement, lattice_score)
        old = self.displacement
        for scale in (1.0, 0.5, 0.25, 0.1):
            self.displacement = old + np.float32(scale) * step
            self._sample()
            new = self._expect()
            if new >= value:
                return new
        self.displacement = old
        self._sample()
        return self._expect()
