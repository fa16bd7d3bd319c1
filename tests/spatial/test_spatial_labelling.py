"""From the lattice to every voxel: evidence against plain NumPy."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import ndimage
from scipy.ndimage import map_coordinates
from simulated import SHAPE, small_fit

from gmmseg.spatial import labelling
from gmmseg.spatial.customatlas import FLUID


@pytest.fixture(scope="module")
def fitted():
    """A joint fit whose lattice is every second voxel of an image, from voxel (2, 4, 0) on."""
    rng = np.random.default_rng(6)
    fit, lattice, atlas = small_fit(rng)
    bend = ndimage.gaussian_filter(rng.standard_normal((*SHAPE, 3)), (4, 4, 4, 0)) * 60
    fit = replace(fit, displacement=bend.astype(np.float32))
    lattice = replace(lattice, first=np.array([1, 2, 0]), step=np.array([2, 2, 2]))
    return fit, lattice, atlas


def test_the_log_joint_of_each_voxel_is_the_plain_one(fitted, rng):
    fit, lattice, atlas = fitted
    box = (slice(20, 31), slice(10, 22), slice(30, 40))
    values = rng.uniform(20, 150, (11, 12, 10)).astype(np.float32)
    values[3, 4, 5] = np.nan
    found = labelling.class_log_joint(values, box, lattice, fit, atlas)

    index = np.stack(np.meshgrid(*[np.arange(s.start, s.stop) for s in box], indexing="ij"))
    place = (index.reshape(3, -1).T / lattice.step - lattice.first).T
    moved = np.stack(
        [map_coordinates(u, place, order=1) for u in np.moveaxis(fit.displacement, -1, 0)]
    )
    template = lattice.to_template[:3, :3] @ place + lattice.to_template[:3, 3:] + moved
    voxel = np.linalg.inv(atlas.affine)[:3, :3] @ (template - atlas.affine[:3, 3:])
    joint = np.full((values.size, atlas.n_tissues + 1), 1e-30)
    unseen = np.isnan(values.ravel())
    maps = np.moveaxis(atlas.maps, -1, 0)
    prior = np.stack([map_coordinates(m, voxel, order=1, mode="nearest") for m in maps])
    inside, root = prior[: atlas.n_inside], np.sqrt(prior[: atlas.n_inside])
    prior[: atlas.n_inside] = root * inside.sum(0) / root.sum(0)
    for k, label in enumerate(atlas.labels):
        density = np.interp(values.ravel(), fit.table.grid, fit.table.density[:, k])
        joint[:, label] += prior[k] * np.where(unseen, 1.0, density)
    odds = prior[: atlas.n_inside].sum(0) / prior[atlas.n_inside :].sum(0)
    gain = joint[:, :-1].sum(1) / joint[:, -1] / odds  # how much likelier the value is in the brain
    assert 0.05 < (gain[~unseen] > 1).mean() < 0.95  # both kinds
    joint[:, -1] *= np.exp(-labelling.BALANCE) * np.sqrt(np.maximum(gain, 1))
    np.testing.assert_allclose(found.reshape(joint.shape), np.log(joint), atol=2e-3)


def test_a_missing_voxel_has_the_prior_alone(fitted):
    fit, lattice, atlas = fitted
    box = (slice(20, 23),) * 3
    nothing = np.full((3, 3, 3), np.nan, np.float32)
    log_joint = labelling.class_log_joint(nothing, box, lattice, fit, atlas)
    parts = np.exp(log_joint)
    parts[..., -1] *= np.exp(labelling.BALANCE)
    np.testing.assert_allclose(parts.sum(-1), 1, atol=1e-4)


def test_a_value_likelier_in_the_brain_counts_by_half_and_one_likelier_outside_in_full():
    weight = labelling.outside_weight
    even = weight(0.5, 0.5, 0.01, 0.01)  # the value says nothing
    assert even == pytest.approx(np.exp(-labelling.BALANCE))
    for here, around in ((0.5, 0.5), (0.2, 0.8)):
        for likely, by in ((9.0, 3.0), (1 / 9, 1.0)):
            found = weight(here, around, here * likely * 0.01, around * 0.01)
            assert found == pytest.approx(even * by)


def test_fluid_without_a_label_is_weighed_as_brain_and_not_as_the_head_around_it(fitted, rng):
    fit, lattice, atlas = fitted
    box = (slice(20, 23),) * 3
    values = rng.uniform(20, 150, (3, 3, 3)).astype(np.float32)
    share = np.float32((0.5, 0.2, 0.3, 0))  # GM, WM, fluid, and nothing of the head
    maps = np.broadcast_to(share, atlas.maps.shape).copy()
    names = (*atlas.names[:2], FLUID, atlas.names[3])
    dry = replace(atlas, maps=maps, names=names, labels=(0, 1, 2, 2), n_tissues=2)
    found = labelling.class_log_joint(values, box, lattice, fit, dry)[..., -1]
    density = np.interp(values, fit.table.grid, fit.table.density[:, 2])
    np.testing.assert_allclose(found, np.log(0.3 * density), atol=2e-3)


def test_tissues_share_the_brain_by_the_root_of_the_prior_and_the_head_keeps_its_part(fitted):
    fit, lattice, atlas = fitted
    box = (slice(20, 23),) * 3
    share = (0.5, 0.2, 0.06, 0.24)  # GM, WM, CSF, outside
    even = replace(atlas, maps=np.broadcast_to(np.float32(share), atlas.maps.shape).copy())
    nothing = np.full((3, 3, 3), np.nan, np.float32)
    found = np.exp(labelling.class_log_joint(nothing, box, lattice, fit, even)[0, 0, 0])
    np.testing.assert_allclose(found[:3].sum(), 0.76, atol=1e-4)
    np.testing.assert_allclose(found[:3] / found[0], np.sqrt(np.divide(share[:3], 0.5)), rtol=1e-3)


def test_nothing_outside_the_room_for_tissue_has_a_prior_that_would_be_looked_at(fitted):
    fit, lattice, atlas = fitted
    maps = atlas.maps.copy()
    maps[: len(maps) // 2, ..., :-1], maps[: len(maps) // 2, ..., -1] = 0, 1
    atlas = replace(atlas, maps=maps)  # half of it is surely none of the tissues
    shape = tuple(2 * (n + f) for n, f in zip(SHAPE, lattice.first, strict=True))
    box, room = labelling.brain_room(fit, lattice, atlas, shape)
    missing = np.full(room.shape, np.nan, np.float32)  # so that the prior alone speaks
    prior = np.exp(labelling.class_log_joint(missing, box, lattice, fit, atlas))
    tissue = prior[..., :-1].sum(-1)
    assert tissue[~room].max() < labelling.MIN_PRIOR
    assert 0.2 < room.mean() < 1  # it does leave something out
    assert tissue[room].max() > 0.9


def test_of_a_known_brain_all_voxels_are_tissue_and_no_others(fitted, rng):
    fit, lattice, atlas = fitted
    box = (slice(20, 26),) * 3
    values = rng.uniform(20, 150, (6, 6, 6)).astype(np.float32)
    brain = rng.random((6, 6, 6)) < 0.5
    free = labelling.class_log_joint(values, box, lattice, fit, atlas)
    found = labelling.class_log_joint(values, box, lattice, fit, atlas, brain, known=True)
    np.testing.assert_array_equal(found[brain][:, :-1], free[brain][:, :-1])
    assert (found[brain][:, -1] == -labelling.NEVER).all()
    assert (found[~brain] == [*[-labelling.NEVER] * 3, 0]).all()


def test_the_correction_at_the_points_of_the_lattice_is_the_fitted_field(fitted):
    fit, lattice, _ = fitted
    shape = tuple(2 * (n + f) for n, f in zip(SHAPE, lattice.first, strict=True))
    field = labelling.log_correction(fit, lattice, shape)
    assert field.shape == shape
    assert field.dtype == np.float32
    on_lattice = field[2::2, 4::2, 0::2][: SHAPE[0], : SHAPE[1], : SHAPE[2]]
    np.testing.assert_allclose(on_lattice, fit.basis.field(fit.coefficients), atol=1e-5)


def test_labels_are_the_likeliest_tissue_of_the_voxels_in_the_brain(rng):
    q = rng.dirichlet(np.ones(4), (4, 5, 6)).astype(np.float32)
    brain = rng.random((4, 5, 6)) < 0.6
    box = (slice(2, 6), slice(1, 6), slice(0, 6))
    labels, posteriors = labelling.settle(q, brain, box, (8, 8, 8))
    expected = np.where(brain, q[..., :3].argmax(-1) + 1, 0)
    np.testing.assert_array_equal(labels[box], expected)
    assert labels.sum() == expected.sum()
    shares = q[..., :3] / q[..., :3].sum(-1, keepdims=True)
    np.testing.assert_allclose(posteriors[box], np.where(brain[..., None], shares, 0), atol=1e-6)


def test_the_likeliest_class_is_the_first_of_the_largest(rng):
    values = rng.integers(0, 4, (7, 5, 6, 4)).astype(np.float32)  # with many ties
    for n in (4, 3):
        expected = np.isin(values[..., :n].argmax(axis=-1), [0, 2])
        assert np.array_equal(labelling.is_likeliest([0, 2], values, n), expected)
