"""A small simulated image whose tissue priors, shading and displacement are known."""

import numpy as np
from scipy import ndimage
from scipy.special import ndtr

from gmmseg.spatial.atlas import TissueAtlas
from gmmseg.spatial.intensity import IntensityPrior, starting_model
from gmmseg.spatial.lattice import Lattice
from gmmseg.spatial.sampling import sample_prior
from gmmseg.spatial.unified import UnifiedSettings, fit_unified

MEANS = np.array([95.0, 130.0, 40.0])
NOISE = 5.0
SPACING = 4.0  # mm
SHAPE = (30, 34, 28)


def blurred(rng, shape, sigma):
    """Smooth random field of unit variance."""
    field = ndimage.gaussian_filter(rng.standard_normal(shape), sigma)
    return field / field.std()


def small_atlas(rng, sigma=2.5, contrast=3.0):
    """Three tissues in smooth random patches, and next to nothing of anything else.

    The larger ``contrast`` (nats), the surer the tissue of a point.
    """
    fields = np.stack([blurred(rng, SHAPE, sigma) for _ in MEANS], axis=-1)
    maps = np.exp(contrast * fields)
    maps = np.concatenate([maps / maps.sum(-1, keepdims=True), np.zeros((*SHAPE, 1))], axis=-1)
    maps = (maps + 1e-4).astype(np.float32)
    maps /= maps.sum(-1, keepdims=True)
    affine = np.diag([SPACING, SPACING, SPACING, 1.0])
    return TissueAtlas(maps, affine, ("GM", "WM", "CSF", "outside"), (0, 1, 2, 3), 3)


def small_lattice(rng, atlas, log_shading=0.0, displacement=None, patch=0.0):
    """Tissue drawn from the displaced prior at each point, its intensity, noise and shading.

    ``displacement`` (n_0, n_1, n_2, 3) is in mm; ``log_shading`` (n_0, n_1, n_2) in nats. Points
    within ``patch`` voxels of each other are drawn alike, or each by itself where it is 0.
    """
    points = np.stack(np.indices(SHAPE), axis=-1).astype(np.float64)
    if displacement is not None:
        points = points + displacement / SPACING
    prior = np.empty((points.size // 3, len(atlas.names)), np.float32)
    sample_prior(atlas.maps, np.ascontiguousarray(points.reshape(-1, 3)), prior)
    chance = np.cumsum(prior[:, :3] / prior[:, :3].sum(1, keepdims=True), axis=1)
    draws = ndtr(blurred(rng, SHAPE, patch)).ravel() if patch else rng.random(len(chance))
    tissue = (draws[:, None] > chance[:, :2]).sum(1)
    values = (MEANS[tissue] + NOISE * rng.standard_normal(len(tissue))).reshape(SHAPE)
    return Lattice(
        values=values * np.exp(log_shading),
        used=np.ones(SHAPE, bool),
        outside=np.zeros(SHAPE, bool),
        spacing=np.full(3, SPACING),
        to_template=atlas.affine,
        first=np.zeros(3, int),
        step=np.ones(3, int),
    )


def start(lattice, atlas):
    """Where the mixture starts, and a weak prior about it."""
    prior = np.empty((lattice.values.size, len(atlas.names)), np.float32)
    sample_prior(atlas.maps, lattice.points(atlas), prior)
    outside = np.zeros(len(prior), bool)
    levels = [(0.5,), (0.5,), (0.5,), ()]
    model = starting_model(lattice.values.ravel(), prior, outside, levels, 3)
    held = IntensityPrior(
        model.means, np.zeros(3), np.zeros(3, bool), model.group_variances, 20.0, 3, 100.0
    )
    return model, held


def small_fit(rng, **settings):
    """A short joint fit, its lattice and its atlas."""
    atlas = small_atlas(rng)
    lattice = small_lattice(rng, atlas)
    options = UnifiedSettings(max_rounds=4, **settings)
    return fit_unified(lattice, atlas, *start(lattice, atlas), options), lattice, atlas
