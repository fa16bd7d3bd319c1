"""What the atlas says of the tissues of a voxel, read with SciPy for comparison."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
from scipy.ndimage import map_coordinates
from simulated import MEANS, SHAPE, small_atlas, small_lattice

from gmmseg.labels import TISSUES
from gmmseg.spatial.fractions import _tissue_prior
from gmmseg.spatial.intensity import IntensityModel

BOX = (slice(3, 20), slice(5, 30), slice(2, 24))


def parted(rng, order):
    """Tissues in this order, and a part of grey matter that is 20 brighter, by an atlas."""
    atlas = small_atlas(rng)
    maps, share = atlas.maps, rng.random(SHAPE).astype(np.float32)
    grey = [maps[..., 0] * (1 - share), maps[..., 0] * share]
    by_name = {"GM": grey[0], "WM": maps[..., 1], "CSF": maps[..., 2]}
    layers = [*(by_name[name] for name in order), grey[1], maps[..., 3]]
    return replace(
        atlas,
        maps=np.ascontiguousarray(np.stack(layers, axis=-1)),
        names=(*order, "deep GM", "outside"),
        labels=(0, 1, 2, order.index("GM"), 3),
    )


def told(seed, order):
    """The part's answer, and what it is made from."""
    rng = np.random.default_rng(seed)
    atlas = parted(rng, order)
    lattice = small_lattice(rng, atlas)
    means = [dict(zip(TISSUES, MEANS, strict=True))[name] for name in order]
    means += [MEANS[0] + 20, 0.0]
    five = np.arange(5)
    model = IntensityModel(five, np.ones(5), np.array(means), five, np.ones(5))
    displacement = rng.normal(0, 3, (*SHAPE, 3)).astype(np.float32)  # mm
    fit = SimpleNamespace(model=model, displacement=displacement)
    brain = rng.random([side.stop - side.start for side in BOX]) < 0.8
    return _tissue_prior(brain, BOX, lattice, fit, atlas), brain, displacement, atlas


def test_prior_and_means_of_parts_are_those_that_scipy_reads():
    (means, log_prior, away), brain, displacement, atlas = told(0, TISSUES)
    np.testing.assert_array_equal(means, MEANS)
    index = np.argwhere(brain) + [side.start for side in BOX]
    spacing = np.diag(atlas.affine)[:3]
    points = index + displacement[tuple(index.T)] / spacing
    grey, white, fluid, deep, _ = (
        map_coordinates(atlas.maps[..., k].astype(float), points.T, order=1, mode="nearest")
        for k in range(5)
    )
    roots = np.sqrt([grey, white, fluid, deep])
    roots *= (grey + white + fluid + deep) / roots.sum(0)
    expected = np.log([roots[0] + roots[3], roots[1], roots[2]]).T
    np.testing.assert_allclose(log_prior[brain], expected, atol=1e-4)
    np.testing.assert_allclose(away[brain][:, 0], 20 * roots[3] / (roots[0] + roots[3]), atol=1e-3)
    np.testing.assert_array_equal(away[brain][:, 1:], 0)
    assert not log_prior[~brain].any()
    assert not away[~brain].any()


def test_the_order_of_tissues_in_the_atlas_does_not_matter():
    (means, log_prior, away), brain, *_ = told(1, TISSUES)
    (other_means, other_prior, other_away), *_ = told(1, ("CSF", "GM", "WM"))
    np.testing.assert_array_equal(other_means, means)
    np.testing.assert_allclose(other_prior, log_prior, atol=1e-5)
    np.testing.assert_allclose(other_away, away, atol=1e-4)
    # Negative control: tissues in another order would be told apart.
    assert np.abs(log_prior - np.roll(log_prior, 1, axis=-1))[brain].mean() > 0.5
