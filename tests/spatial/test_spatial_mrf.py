"""The Potts field: its bound against a slow second implementation, and what it does to labels."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import logsumexp, softmax, xlogy

from gmmseg.spatial.mrf import held_out_gain, mean_field, neighbour_weights

# q is float32: its rows sum to one within 1e-7, and that times a field of some ten nats is what a
# sweep at its fixed point may seem to lose.
ROUNDING = 2e-6


def neighbour_sum(q, spacing, beta):
    """Weighted sum of q over the six neighbours."""
    total = np.zeros_like(q)
    for axis, weight in enumerate(beta * neighbour_weights(spacing)):
        front = [slice(None)] * 4
        back = [slice(None)] * 4
        front[axis], back[axis] = slice(1, None), slice(None, -1)
        total[tuple(front)] += weight * q[tuple(back)]
        total[tuple(back)] += weight * q[tuple(front)]
    return total


def slow_bound(log_joint, q, active, spacing, beta):
    """Sum over active voxels of unary term and entropy, and over pairs with one of them active."""
    alone = ((q * log_joint).sum(-1) - xlogy(q, q).sum(-1))[active].sum()
    inside = np.where(active[..., None], q, 0)
    both = 0.5 * (inside * neighbour_sum(inside, spacing, beta)).sum()
    one = (inside * neighbour_sum(q - inside, spacing, beta)).sum()
    return (alone + both + one) / active.sum()


def slow_mean_field(log_joint, active, spacing, beta, n_sweeps):
    """The same field in double precision, colour by colour."""
    q = softmax(log_joint, axis=-1)
    parity = np.indices(active.shape).sum(0) % 2
    bound = [slow_bound(log_joint, q, active, spacing, beta)]
    for _ in range(n_sweeps):
        for colour in (0, 1):
            update = active & (parity == colour)
            new = softmax(log_joint + neighbour_sum(q, spacing, beta), axis=-1)
            q = np.where(update[..., None], new, q)
        bound.append(slow_bound(log_joint, q, active, spacing, beta))
    return q, np.array(bound)


def problem(rng, shape=(7, 6, 5), n_classes=4, strength=1.5, share=0.8):
    log_joint = (strength * rng.standard_normal((*shape, n_classes))).astype(np.float32)
    return log_joint, rng.random(shape) < share


@settings(max_examples=40)
@given(
    seed=st.integers(0, 2**32 - 1),
    shape=st.tuples(*[st.integers(1, 7)] * 3),
    n_classes=st.integers(2, 5),
    beta=st.sampled_from([0.1, 0.3, 1.5]),
    spacing=st.sampled_from([(1.0, 1.0, 1.0), (1.0, 1.0, 3.0), (0.5, 2.0, 1.3)]),
    strength=st.sampled_from([0.1, 1.0, 5.0]),
)
def test_no_sweep_in_two_colours_lowers_the_bound(seed, shape, n_classes, beta, spacing, strength):
    rng = np.random.default_rng(seed)
    log_joint, active = problem(rng, shape, n_classes, strength)
    _, bound = mean_field(log_joint, active, spacing, beta, n_sweeps=15, tol=-1)
    assert len(bound) == 16
    assert np.diff(bound).min() >= -ROUNDING


def test_updating_all_voxels_at_once_does_lower_the_bound(rng):
    """Negative control: at beta 1.5 the checks above tell a wrong update from a right one."""
    worst = []
    for _ in range(10):
        log_joint, _ = problem(rng, strength=0.5)
        active = np.ones(log_joint.shape[:3], bool)
        q, bound = softmax(log_joint, axis=-1), []
        for _ in range(6):
            bound.append(slow_bound(log_joint, q, active, (1, 1, 1), 1.5))
            q = softmax(log_joint + neighbour_sum(q, (1, 1, 1), 1.5), axis=-1)
        worst.append(np.diff(bound).min())
    assert min(worst) < -1e-3


@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (1.0, 1.0, 3.0)])
@pytest.mark.parametrize("beta", [0.3, 1.5])
def test_field_and_bound_are_those_of_a_slow_implementation(rng, spacing, beta):
    log_joint, active = problem(rng)
    q, bound = mean_field(log_joint, active, spacing, beta, n_sweeps=4, tol=-1, still=0)
    slow_q, slow = slow_mean_field(log_joint.astype(np.float64), active, spacing, beta, 4)
    np.testing.assert_allclose(q, slow_q, atol=1e-5)
    np.testing.assert_allclose(bound, slow, atol=1e-5)


@pytest.mark.parametrize("beta", [0.3, 0.8])
def test_voxels_left_as_they_are_would_hardly_change(rng, beta):
    """Blocks of two classes with noise: far from their borders next to nothing is due."""
    truth = np.indices((40, 40, 40)).sum(0) // 20 % 2
    values = truth + 0.3 * rng.standard_normal(truth.shape)
    distance = (values[..., None] - np.arange(2)) ** 2
    log_joint = (-distance / (2 * 0.3**2)).astype(np.float32)
    active = np.ones(truth.shape, bool)
    q, bound = mean_field(log_joint, active, (1, 1, 1), beta, tol=-1)
    all_of_it, exact = mean_field(log_joint, active, (1, 1, 1), beta, tol=-1, still=0)
    assert np.abs(q - all_of_it).max() < 0.01
    np.testing.assert_allclose(bound, exact, atol=1e-5)
    # Negative control: with a coarser limit the field does differ.
    coarse, _ = mean_field(log_joint, active, (1, 1, 1), beta, tol=-1, still=0.3)
    assert np.abs(coarse - all_of_it).max() > 0.02


@pytest.mark.parametrize("beta", [2.0, 5.0, 10.0])
def test_a_voxel_however_sure_changes_where_its_neighbours_outweigh_it(beta):
    """Its other class has less than float32 tells from nothing beside one."""
    log_joint = np.zeros((5, 5, 5, 2), np.float32)
    log_joint[..., 0] = 30.0
    log_joint[2, 2, 2] = 0.0, 18.0
    active = np.ones((5, 5, 5), bool)
    q, _ = mean_field(log_joint, active, (1, 1, 1), beta, tol=-1)
    exact, _ = mean_field(log_joint, active, (1, 1, 1), beta, tol=-1, still=0)
    np.testing.assert_allclose(q[2, 2, 2], exact[2, 2, 2], rtol=0.01)
    assert (q[2, 2, 2, 0] > 0.5) == (beta > 3)


def test_without_coupling_the_field_is_the_posterior_of_each_voxel(rng):
    log_joint, active = problem(rng)
    q, bound = mean_field(log_joint, active, (1, 1, 1), 0.0)
    np.testing.assert_allclose(q, softmax(log_joint.astype(np.float64), axis=-1), atol=1e-6)
    evidence = np.log(np.exp(log_joint[active].astype(np.float64)).sum(-1)).mean()
    np.testing.assert_allclose(bound, [evidence], rtol=1e-6)


def test_voxels_alike_side_by_side_have_one_posterior_and_others_their_own(rng):
    log_joint = rng.normal(size=(3, 4, 12, 3)).astype(np.float32)
    log_joint[:, :, 4:9] = log_joint[:, :, 4:5]
    log_joint[:, :, 10, 0] = log_joint[:, :, 9, 0]  # alike in one class is not alike
    q, _ = mean_field(log_joint, np.ones(log_joint.shape[:3], bool), (1, 1, 1), 0.0)
    np.testing.assert_allclose(q, softmax(log_joint.astype(np.float64), axis=-1), atol=1e-6)
    assert (q[:, :, 4:9] == q[:, :, 4:5]).all()


def test_voxels_out_of_play_keep_their_posterior_and_still_sway_their_neighbours(rng):
    log_joint, active = problem(rng, share=0.5)
    q, _ = mean_field(log_joint, active, (1, 1, 1), 0.8)
    alone = softmax(log_joint.astype(np.float64), axis=-1)
    np.testing.assert_allclose(q[~active], alone[~active], atol=1e-6)
    flat = np.zeros((3, 1, 1, 2), np.float32)
    flat[[0, 2], ..., 1] = 5.0
    q, _ = mean_field(flat, np.array([False, True, False]).reshape(3, 1, 1), (1, 1, 1), 0.8)
    assert q[1, 0, 0, 1] > 0.7


def binary(labels, log_odds):
    """Unary terms that favour ``labels`` (X, Y, Z) by ``log_odds``."""
    side = np.where(labels, 0.5, -0.5) * log_odds
    return np.stack([-side, side], axis=-1).astype(np.float32)


def test_an_isolated_wrong_voxel_is_mended():
    wrong = np.zeros((9, 9, 9), bool)
    wrong[4, 4, 4] = True
    log_joint = binary(wrong, 1.0)
    active = np.ones(wrong.shape, bool)
    alone, _ = mean_field(log_joint, active, (1, 1, 1), 0.0)
    together, _ = mean_field(log_joint, active, (1, 1, 1), 0.3)
    assert alone[4, 4, 4].argmax() == 1
    assert not together.argmax(-1).any()


def test_a_true_line_one_voxel_wide_survives_a_small_coupling():
    """Two like and four unlike neighbours cost 2 beta = 0.6 nats; the evidence is worth 2."""
    line = np.zeros((9, 9, 9), bool)
    line[4, 4, :] = True
    q, _ = mean_field(binary(line, 2.0), np.ones(line.shape, bool), (1, 1, 1), 0.3)
    np.testing.assert_array_equal(q.argmax(-1).astype(bool), line)


def test_neighbours_far_apart_matter_less():
    weights = neighbour_weights((1.0, 1.0, 3.0))
    np.testing.assert_allclose(weights.sum(), 3.0)
    np.testing.assert_allclose(weights[:2] / weights[2], 3.0)


def test_the_field_does_not_depend_on_the_number_of_threads(rng, alone_and_together):
    log_joint, active = problem(rng, (20, 15, 10))
    found = alone_and_together(lambda: mean_field(log_joint, active, (1, 1, 2), 0.7))
    for one, two in zip(*found, strict=True):
        np.testing.assert_array_equal(one, two)


def test_the_input_stays_as_it_was(rng):
    log_joint, active = problem(rng)
    copies = log_joint.copy(), active.copy()
    mean_field(log_joint, active, (1, 1, 1), 0.5)
    np.testing.assert_array_equal(log_joint, copies[0])
    np.testing.assert_array_equal(active, copies[1])


@given(seed=st.integers(0, 2**32 - 1), beta=st.sampled_from([0.1, 0.8, 3.0]))
def test_held_out_gain_agrees_with_a_slow_one(seed, beta):
    """Difference of two log likelihoods, each with its own normaliser; float32 in between."""
    rng = np.random.default_rng(seed)
    log_joint, active = problem(rng)
    log_prior = np.log(rng.dirichlet(np.ones(4), size=active.shape)).astype(np.float32)
    spacing = (1.0, 1.0, 3.0)
    pull = neighbour_sum(softmax(log_joint.astype(float), axis=-1), spacing, beta)
    with_them = logsumexp(log_joint + pull, axis=-1) - logsumexp(log_prior + pull, axis=-1)
    alone = logsumexp(log_joint, axis=-1) - logsumexp(log_prior, axis=-1)
    found = held_out_gain(log_joint, log_prior, active, spacing, beta)
    assert found == pytest.approx((with_them - alone)[active].mean(), abs=1e-5)
    assert held_out_gain(log_joint, log_prior, active, spacing, 0.0) == 0
    assert held_out_gain(log_joint, log_prior, np.zeros_like(active), spacing, beta) == 0


def test_neighbours_gain_in_patches_and_lose_where_they_say_nothing(rng):
    """Two classes three deviations apart; the same values in random places have no neighbourhood,
    and those of a chessboard have one that misleads."""
    patches = np.add.outer(np.add.outer(np.arange(24) // 6, np.arange(24) // 6), np.arange(24) // 6)
    chessboard = np.indices(patches.shape).sum(0) % 2
    labels = {"patches": patches % 2, "chessboard": chessboard}
    labels["random"] = rng.permutation(labels["patches"].ravel()).reshape(patches.shape)
    gains = {}
    for name, truth in labels.items():
        values = 3.0 * truth + rng.standard_normal(truth.shape)
        log_prior = np.full((*truth.shape, 2), np.log(0.5), np.float32)
        likelihood = -0.5 * (values[..., None] - np.array([0.0, 3.0])) ** 2
        joint = (log_prior + likelihood).astype(np.float32)
        gains[name] = held_out_gain(joint, log_prior, np.ones(truth.shape, bool), (1, 1, 1), 0.3)
    assert gains["patches"] > 0.1
    assert gains["random"] < 0
    assert gains["chessboard"] < -0.5
