"""The compiled passes of the alignment: evidence, derivatives, counts; whatever the threads."""

import numpy as np
import pytest
from scipy import ndimage

from gmmseg.spatial.affine_pass import evidence_under, learn_histograms, score_under


@pytest.fixture
def case(rng):
    maps = rng.random((12, 11, 10, 3), dtype=np.float32)
    maps /= maps.sum(-1, keepdims=True)
    points = rng.normal(size=(3001, 3))  # some lie outside the maps
    to_voxel = np.array([[2.0, 0.1, 0.0, 5.0], [0.0, 2.0, 0.2, 5.0], [0.1, 0.0, 2.0, 4.0]])
    bins, density = rng.integers(0, 8, 3001), rng.random((8, 3)) + 0.1
    return maps, to_voxel, points, density, bins


def naive(maps, to_voxel, points, density, bins):
    at = to_voxel[:, :3] @ points.T + to_voxel[:, 3:]
    classes = np.moveaxis(maps.astype(float), -1, 0)
    prior = [ndimage.map_coordinates(m, at, order=1, mode="nearest") for m in classes]
    return np.log((np.array(prior).T * density[bins]).sum(1)).sum()


def test_the_evidence_is_that_of_interpolated_priors(case):
    maps, to_voxel, points, density, bins = case
    prior = np.empty((len(points), 3), np.float32)
    total = evidence_under(maps, to_voxel, points, density, bins, prior)
    assert total == pytest.approx(naive(*case), rel=1e-6)  # priors are float32
    assert score_under(*case)[0] == pytest.approx(naive(*case), rel=1e-6)
    np.testing.assert_allclose(prior.sum(1), 1, atol=1e-6)


def test_the_gradient_is_the_slope_and_the_hessian_the_sum_of_squares(case):
    maps, to_voxel, points, density, bins = case
    inside = ((points @ to_voxel[:, :3].T + to_voxel[:, 3] > 0).all(1)) & (
        (points @ to_voxel[:, :3].T + to_voxel[:, 3] < np.array(maps.shape[:3]) - 1).all(1)
    )  # beyond the border the evidence is held constant and its slope is not looked at
    few = np.ascontiguousarray(points[inside][:1]), bins[inside][:1]
    _, gradient, hessian = score_under(maps, to_voxel, few[0], density, few[1])
    for i in np.ndindex(3, 4):
        step = np.zeros((3, 4))
        step[i] = 1e-6
        high, low = (naive(maps, to_voxel + s * step, few[0], density, few[1]) for s in (1, -1))
        assert gradient[i] == pytest.approx((high - low) / 2e-6, rel=1e-5, abs=1e-5)
    # one sample: the sum of outer products is the product
    np.testing.assert_allclose(hessian, np.multiply.outer(gradient, gradient), atol=1e-12)


def test_each_step_of_learning_sums_responsibilities_by_bin(case):
    _, _, points, _, bins = case
    prior = np.tile(np.array([0.2, 0.3, 0.5], np.float32), (len(points), 1))
    start = np.exp(np.arange(24).reshape(3, 8) % 5 - 2.0)  # no two classes alike
    expected = start
    for _ in range(3):
        joint = prior * expected.T[bins]
        share = joint / joint.sum(1, keepdims=True)
        counts = np.array([np.bincount(bins, weights=r, minlength=8) for r in share.T]) + 0.25
        expected = counts / counts.sum(1, keepdims=True)
    np.testing.assert_allclose(learn_histograms(prior, bins, start, 3, 0.25), expected)
    assert np.ptp(expected, axis=0).min() > 0.01


def test_the_number_of_threads_changes_no_bit(case, alone_and_together):
    for one, other in zip(*alone_and_together(lambda: score_under(*case)), strict=True):
        np.testing.assert_array_equal(one, other)
