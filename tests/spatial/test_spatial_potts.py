"""The Potts field of images: its bound against enumeration and a slow second implementation."""

from itertools import product

import numba
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import logsumexp, softmax, xlogy

from gmmseg.checks import InputError
from gmmseg.spatial import mrf, potts_kernels
from gmmseg.spatial.neighbours import colours, neighbourhood, pair_sharpness
from gmmseg.spatial.potts import OUTSIDE, smooth, smooth_levels

# q is float32: its rows sum to one within 1e-7, and that times a field of some ten nats is what a
# sweep at its fixed point may seem to lose.
ROUNDING = 2e-6
KINDS = [((5, 6), 4), ((5, 6), 8), ((3, 4, 5), 6), ((3, 4, 5), 26)]


def couplings(shape, beta, spacing=None, neighbours=None, image=None, active=None):
    """(N, N) coupling of every two sites, by looking at all of them."""
    sites = np.argwhere(np.ones(shape, bool))
    size = np.ones(len(shape)) if spacing is None else np.array(spacing, float)
    real = np.array(shape) > 1
    all_around = neighbours in (8, 26)

    def strength(step):
        if not all_around and np.abs(step).sum() != 1:
            return 0.0
        if np.abs(step).max() > 1 or not step.any():
            return 0.0
        return 1 / np.linalg.norm(step * size)

    steps = [np.array(s) for s in product(*[(-1, 0, 1) if r else (0,) for r in real])]
    total = sum(strength(s) for s in steps)
    w = np.array([[strength(b - a) for b in sites] for a in sites])
    w *= beta * 2 * real.sum() / max(total, 1e-300)
    if image is not None:
        x = np.asarray(image, float).ravel()
        near = np.array([[np.abs(b - a).sum() == 1 for b in sites] for a in sites])
        if active is not None:
            near &= np.outer(active.ravel(), active.ravel())
        d2 = (x[:, None] - x) ** 2
        w *= np.exp(-d2 / (2 * d2[near].mean()))
    if active is not None:
        w *= np.outer(active.ravel(), active.ravel())
    return w


def log_partition(unary, w):
    """Log of the sum over all labellings, and the best of them."""
    n, k = unary.shape
    labels = np.array(list(product(range(k), repeat=n)))
    scores = np.take_along_axis(unary[None], labels[..., None], 2)[..., 0].sum(1)
    for i in range(n):
        for j in range(i):
            if w[i, j]:
                scores = scores + w[i, j] * (labels[:, i] == labels[:, j])
    return logsumexp(scores), scores.max()


def bound_of(q, unary, w):
    return (q * unary).sum() - xlogy(q, q).sum() + 0.5 * np.einsum("ik,ij,jk->", q, w, q)


@settings(max_examples=40)
@given(
    seed=st.integers(0, 2**32 - 1),
    kind=st.sampled_from([(2, 4), (2, 8), (3, 6), (3, 26)]),
    side=st.integers(1, 7),
    n_classes=st.integers(2, 5),
    beta=st.sampled_from([0.1, 0.5, 3.0]),
    method=st.sampled_from(["mean_field", "icm"]),
    masked=st.booleans(),
    edges=st.booleans(),
    strength=st.sampled_from([0.1, 1.0, 5.0]),
)
def test_no_sweep_lowers_the_objective(
    seed, kind, side, n_classes, beta, method, masked, edges, strength
):
    rng = np.random.default_rng(seed)
    shape = (side, *rng.integers(1, 8, kind[0] - 1))
    joint = (strength * rng.standard_normal((*shape, n_classes))).astype(np.float32)
    mask = rng.random(shape) < 0.8 if masked else None
    if masked and not mask.any():
        mask[(0,) * kind[0]] = True
    result = smooth(
        joint, beta, neighbours=kind[1], mask=mask, method=method, max_sweeps=12, tol=-1.0,
        spacing=rng.uniform(0.5, 3, kind[0]), contrast=rng.random(shape) if edges else None,
    )  # fmt: skip
    assert len(result.objective) == (12 if len(result.objective) > 1 else 1)
    assert np.diff(result.objective).min(initial=0) >= -ROUNDING


@pytest.mark.parametrize(("shape", "neighbours"), KINDS)
@pytest.mark.parametrize("extra", ["plain", "edges and mask"])
def test_posteriors_and_bound_are_those_of_a_slow_implementation(rng, shape, neighbours, extra):
    """Also that a colour has no neighbours in itself: there the two would differ."""
    joint = rng.standard_normal((*shape, 3)).astype(np.float32)
    spacing = (0.7, 1.0, 2.0)[: len(shape)]
    mask = image = None
    if extra != "plain":
        mask, image = rng.random(shape) < 0.7, rng.standard_normal(shape).astype(np.float32)
    result = smooth(
        joint, 0.6, spacing=spacing, neighbours=neighbours, mask=mask, contrast=image,
        max_sweeps=3, tol=-1.0,
    )  # fmt: skip
    w = couplings(shape, 0.6, spacing, neighbours, image, mask)
    on = np.ones(shape, bool) if mask is None else mask
    unary = np.where(on[..., None], joint, 0).reshape(-1, 3).astype(float)
    q = softmax(unary, axis=1) * on.reshape(-1, 1)
    depth_height = int(np.prod(shape[:-1]))
    number = np.arange(q.shape[0]).reshape(depth_height, shape[-1])
    bound = []
    for _ in range(3):
        for colour in colours(neighbourhood(shape, neighbours=neighbours)):
            for row, parity in zip(colour.rows, colour.parities, strict=True):
                who = number[row, parity::2]
                q[who] = softmax(unary[who] + w[who] @ q, axis=1) * on.reshape(-1, 1)[who]
        keep = on.ravel()
        bound.append(bound_of(q[keep], unary[keep], w[np.ix_(keep, keep)]) / keep.sum())
    np.testing.assert_allclose(result.posterior.reshape(-1, 3), q, atol=1e-5)
    np.testing.assert_allclose(result.objective, bound, atol=1e-5)


@pytest.mark.parametrize("beta", [0.2, 1.0])
def test_the_bound_lies_below_the_log_partition_sum_and_meets_it_without_coupling(rng, beta):
    joint = rng.standard_normal((4, 4, 2)).astype(np.float32)
    for b in (0.0, beta):
        truth, _ = log_partition(joint.reshape(-1, 2).astype(float), couplings((4, 4), b))
        bound = smooth(joint, b).objective[-1] * 16
        assert bound <= truth + 16 * ROUNDING
        # From below it is at least what its start, each pixel's own posterior, reaches.
        flat = joint.reshape(-1, 2).astype(float)
        start = bound_of(softmax(flat, axis=1), flat, couplings((4, 4), b))
        assert bound >= start - 16 * ROUNDING
        assert b > 0 or bound == pytest.approx(truth, rel=1e-6)


@pytest.mark.parametrize(("shape", "neighbours"), KINDS)
def test_couplings_sum_to_two_for_each_axis_whatever_neighbours_and_spacing(shape, neighbours):
    spacing = (3.0, 1.0, 0.5)[: len(shape)]
    weights = neighbourhood(shape, spacing=spacing, neighbours=neighbours).weights
    assert weights.sum() == pytest.approx(2 * len(shape), rel=1e-6)


def test_six_neighbours_have_the_couplings_of_the_brain():
    hood = neighbourhood((4, 4, 4), spacing=(1.0, 2.0, 3.0))
    ahead = [hood.weights[(hood.offsets == step).all(1)][0] for step in np.eye(3, dtype=int)]
    np.testing.assert_allclose(ahead, mrf.neighbour_weights((1.0, 2.0, 3.0)), rtol=1e-6)


def test_spacing_follows_the_axes(rng):
    joint = rng.standard_normal((9, 12, 2)).astype(np.float32)
    one = smooth(joint, 0.8, spacing=(1, 4), max_sweeps=200, tol=1e-12).posterior
    other = smooth(
        joint.transpose(1, 0, 2).copy(), 0.8, spacing=(4, 1), max_sweeps=200, tol=1e-12
    ).posterior
    np.testing.assert_allclose(one, other.transpose(1, 0, 2), atol=1e-5)
    wrong = smooth(joint, 0.8, spacing=(4, 1), max_sweeps=200, tol=1e-12).posterior
    assert np.abs(one - wrong).max() > 0.05


@pytest.mark.parametrize(("flat", "deep"), [(4, 6), (8, 26)])
def test_one_slice_of_a_volume_is_an_image(rng, flat, deep):
    joint = rng.standard_normal((7, 9, 3)).astype(np.float32)
    image = smooth(joint, 0.7, neighbours=flat, spacing=(1, 2))
    slab = smooth(joint[None], 0.7, neighbours=deep, spacing=(5, 1, 2))
    np.testing.assert_array_equal(slab.posterior[0], image.posterior)
    np.testing.assert_array_equal(slab.objective, image.objective)


def test_without_coupling_posteriors_are_those_of_each_pixel(rng):
    joint = rng.standard_normal((8, 9, 4)).astype(np.float32)
    result = smooth(joint, 0.0)
    np.testing.assert_allclose(result.posterior, softmax(joint.astype(float), -1), atol=1e-6)
    np.testing.assert_array_equal(result.labels, joint.argmax(-1))
    evidence = logsumexp(joint.astype(float), axis=-1).mean()
    np.testing.assert_allclose(result.objective, [evidence], rtol=1e-6)


@pytest.mark.parametrize("method", ["mean_field", "icm", "graph_cut"])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_levels_and_their_table_give_what_joints_give(rng, method, dtype):
    index = rng.integers(0, 40, (11, 13)).astype(dtype)
    table = rng.standard_normal((40, 3)).astype(np.float32)
    by_level = smooth_levels(index, table, 0.5, method=method, posterior=True)
    by_joint = smooth(table[index], 0.5, method=method)
    np.testing.assert_array_equal(by_level.labels, by_joint.labels)
    np.testing.assert_array_equal(by_level.objective, by_joint.objective)
    if method == "mean_field":
        np.testing.assert_array_equal(by_level.posterior, by_joint.posterior)


def test_pixels_outside_of_the_mask_do_not_exist(rng):
    joint = rng.standard_normal((8, 10, 2)).astype(np.float32)
    mask = np.ones((8, 10), bool)
    mask[:, 6:] = False
    part = smooth(joint[:, :6].copy(), 0.9)
    joint[:, 6:] = np.nan
    whole = smooth(joint, 0.9, mask=mask, contrast=None)
    np.testing.assert_array_equal(whole.labels[:, :6], part.labels)
    np.testing.assert_allclose(whole.posterior[:, :6], part.posterior, atol=1e-7)
    assert (whole.labels[:, 6:] == OUTSIDE).all()
    assert not whole.posterior[:, 6:].any()


def test_the_field_does_not_depend_on_the_number_of_threads(rng, alone_and_together):
    joint = rng.standard_normal((60, 70, 3)).astype(np.float32)
    alone, together = alone_and_together(lambda: smooth(joint, 0.7, neighbours=8))
    np.testing.assert_array_equal(alone.posterior, together.posterior)
    np.testing.assert_array_equal(alone.objective, together.objective)


def halves(rng, noise):
    """A disk on a ground, and log joints of a noisy image of it."""
    y, x = np.indices((96, 96)) - 47.5
    truth = np.hypot(x, y) < 30
    image = truth + noise * rng.standard_normal(truth.shape)
    joint = np.stack([-0.5 * (image / noise) ** 2, -0.5 * ((image - 1) / noise) ** 2], -1)
    return truth, image, joint.astype(np.float32)


def dice(a, b):
    return 2 * np.count_nonzero(a & b) / (np.count_nonzero(a) + np.count_nonzero(b))


@pytest.mark.parametrize("method", ["mean_field", "icm", "graph_cut"])
def test_smoothing_takes_noise_away(rng, method):
    """Alone one pixel in 16 errs (half a distance of 1 is 1.5 sd).

    A disk of radius 30 has 188 border pixels of 2827; errors left there, one in four, are a
    Dice of .98. Conditional modes keep specks in pairs.
    """
    truth, _, joint = halves(rng, 1 / 3)
    alone = dice(joint.argmax(-1) == 1, truth)
    together = dice(smooth(joint, 1.0, method=method).labels == 1, truth)
    assert alone < 0.92
    assert together > (0.96 if method == "icm" else 0.98)


def test_edge_aware_couplings_keep_a_line_that_blind_ones_take_away(rng):
    """Two like and two unlike neighbours, and evidence for the ground worth one nat.

    The negative control is the coupling itself: a contrast without the line does not help.
    """
    line = np.zeros((21, 21), bool)
    line[10, :10] = True  # it ends: blind couplings eat it up from there
    joint = np.stack([np.zeros(line.shape), np.where(line, 0.6, -2.0)], -1).astype(np.float32)
    blind = smooth(joint, 0.8, method="graph_cut").labels
    aware = smooth(joint, 0.8, method="graph_cut", contrast=10.0 * line).labels
    shuffled = rng.permutation(line.ravel()).reshape(line.shape)
    wrong = smooth(joint, 0.8, method="graph_cut", contrast=10.0 * shuffled).labels
    np.testing.assert_array_equal(aware == 1, line)
    assert not blind.any()
    assert not np.array_equal(wrong == 1, line)


def test_a_constant_contrast_changes_nothing_and_sigma_is_that_of_neighbours(rng):
    joint = rng.standard_normal((6, 7, 2)).astype(np.float32)
    flat = smooth(joint, 0.5, contrast=np.full((6, 7), 3.0))
    np.testing.assert_array_equal(flat.posterior, smooth(joint, 0.5).posterior)
    ramp = np.broadcast_to(np.arange(7, dtype=np.float32), (1, 1, 7)).copy()
    assert pair_sharpness(ramp) == 0.5  # all differences are one


def test_the_fast_exponential_is_right_whoever_compiles_it_first():
    """Two units in the last place; a caller's licence to reorder sums must not reach it."""
    assert potts_kernels.exp32.targetoptions["fastmath"] is False

    @numba.njit
    def over(x):
        out = np.empty_like(x)
        for i in range(len(x)):
            out[i] = potts_kernels.exp32(x[i])
        return out

    x = np.linspace(-80, 0, 100_001, dtype=np.float32)
    np.testing.assert_allclose(over(x), np.exp(x.astype(float)), rtol=2 * 2**-23)


def test_a_forbidden_class_is_never_chosen(rng):
    joint = rng.standard_normal((9, 9, 3)).astype(np.float32)
    joint[3, 3, 1:] = -np.inf
    joint[:3, :, 0] -= 9
    for method in ("mean_field", "icm", "graph_cut"):
        result = smooth(joint, 2.0, method=method)
        assert result.labels[3, 3] == 0
        assert np.isfinite(result.objective).all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"beta": -1.0}, "beta must be zero or a positive"),
        ({"beta": np.nan}, "beta must be zero or a positive"),
        ({"neighbours": 6}, "neighbours must be 4 or 8 in 2 dimensions; got 6"),
        ({"spacing": (1.0, 0.0)}, "spacing must be 2 positive numbers"),
        ({"spacing": (1.0, 1.0, 1.0)}, "spacing must be 2 positive numbers"),
        ({"mask": np.zeros((4, 5), bool)}, "no pixel to smooth"),
        ({"mask": np.ones((5, 4), bool)}, r"mask must have the shape of the image, \(4, 5\)"),
        ({"contrast": np.ones((5, 4))}, "contrast must be numbers of shape"),
        ({"contrast": np.full((4, 5), np.nan)}, "contrast must be finite within the mask"),
        ({"method": "magic"}, "method must be one of mean_field, icm, graph_cut"),
        ({"max_sweeps": 0}, "max_sweeps must be at least 1"),
    ],
)
def test_bad_settings_are_refused_in_one_sentence(change, message):
    with pytest.raises(InputError, match=message):
        smooth(np.zeros((4, 5, 2), np.float32), **{"beta": 0.5, **change})


def test_bad_joints_and_levels_are_refused_in_one_sentence():
    joint = np.zeros((4, 5, 2), np.float32)
    joint[1, 2] = np.nan
    with pytest.raises(InputError, match=r"pixel \(1, 2\) has \[nan, nan\]"):
        smooth(joint, 0.5)
    with pytest.raises(InputError, match="2 or 3 dimensions"):
        smooth(np.zeros((2, 2, 2, 2, 2)), 0.5)
    with pytest.raises(InputError, match="table ends at level 2"):
        smooth_levels(np.full((3, 3), 3, np.uint8), np.zeros((3, 2)), 0.5)
    with pytest.raises(InputError, match="uint8 or uint16; got float64"):
        smooth_levels(np.zeros((3, 3)), np.zeros((3, 2)), 0.5)
    with pytest.raises(InputError, match="level 1 has"):
        smooth_levels(np.zeros((3, 3), np.uint8), np.array([[0, 0], [np.nan, 0]]), 0.5)
