"""The external field of classes whose shares are known."""

import numpy as np
import pytest

from gmmseg.spatial.potts import smooth
from gmmseg.spatial.shares import external_field


def test_without_coupling_it_is_the_log_of_the_weights():
    weights = np.array([0.5, 0.3, 0.2])
    np.testing.assert_allclose(external_field(weights, 0.0, 6), np.log(weights / 0.5), atol=1e-9)


@pytest.mark.parametrize("beta", [0.1, 0.2, 0.3])
def test_a_chain_keeps_its_shares_exactly(beta):
    """On a chain, z = 2, sums over all labels are products of matrices: its middle is exact."""
    weights = np.array([0.6, 0.3, 0.1])
    field = np.exp(external_field(weights, beta, 2))
    step = (np.ones((3, 3)) + np.expm1(beta) * np.eye(3)) * field
    left = np.linalg.matrix_power(step.T, 200) @ np.ones(3)
    right = np.linalg.matrix_power(step, 200) @ np.ones(3)
    share = left * right
    np.testing.assert_allclose(share / share.sum(), weights, atol=1e-6)
    plain = (np.ones((3, 3)) + np.expm1(beta) * np.eye(3)) * weights  # the control
    share = np.linalg.matrix_power(plain.T, 200) @ np.ones(3)
    share *= np.linalg.matrix_power(plain, 200) @ np.ones(3)
    assert abs(share[2] / share.sum() - 0.1) > 0.005


def test_equal_classes_need_no_field_and_a_rare_one_is_never_favoured():
    np.testing.assert_allclose(external_field([0.5, 0.5], 0.7, 4), 0, atol=1e-9)
    for beta in np.linspace(0, 3, 13):
        field = external_field([0.95, 0.05], beta, 6)
        assert field[0] == 0
        assert np.log(0.05 / 0.95) - 1e-9 <= field[1] <= 0


def test_a_rare_class_survives_among_neighbours(rng):
    """A ball of 2 % of a volume, three deviations bright: weights as they are lose a part of it."""
    axes = np.meshgrid(*[np.linspace(-1, 1, 40)] * 3, indexing="ij")
    ball = sum(axis**2 for axis in axes) < 0.1
    x = rng.normal(np.where(ball, 3.0, 0.0), 1)
    density = -0.5 * (x[..., None] - np.array([0.0, 3.0])) ** 2
    weights = np.array([1 - ball.mean(), ball.mean()])

    def dice(field):
        found = smooth(density + field, 0.5).labels == 1
        return 2 * np.count_nonzero(found & ball) / (found.sum() + ball.sum())

    assert dice(external_field(weights, 0.5, 6)) > 0.9 > 0.8 > dice(np.log(weights))
