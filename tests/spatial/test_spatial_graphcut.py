"""Graph cuts: against all labellings of tiny grids, and never worse than the other methods."""

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gmmseg.spatial import graphcut
from gmmseg.spatial.neighbours import neighbourhood
from gmmseg.spatial.potts import smooth


def pairs_on(shape, beta, neighbours):
    hood = neighbourhood(shape, neighbours=neighbours)
    used = np.ones(int(np.prod(shape)), bool)
    return graphcut.pairs_of(hood, beta * hood.weights, used, np.empty(0, np.float32), 0.0)


def best_of_all(unary, pairs):
    """Log probability, nats per site, of the best of all labellings."""
    n, k = unary.shape
    labels = np.array(list(product(range(k), repeat=n)))
    score = np.take_along_axis(unary[None], labels[..., None], 2)[..., 0].sum(1)
    for i, j, w in zip(pairs.first, pairs.second, pairs.weight, strict=True):
        score = score + w * (labels[:, i] == labels[:, j])
    return score.max() / n


@settings(max_examples=25)
@given(
    seed=st.integers(0, 2**32 - 1),
    neighbours=st.sampled_from([4, 8]),
    beta=st.sampled_from([0.1, 0.5, 2.0]),
    strength=st.sampled_from([0.3, 1.0, 3.0]),
)
def test_two_classes_get_the_best_of_all_labellings(seed, neighbours, beta, strength):
    """To the millionth of the largest capacity to which costs are rounded."""
    joint = strength * np.random.default_rng(seed).standard_normal((3, 4, 2))
    joint = joint.astype(np.float32)
    best = best_of_all(joint.reshape(-1, 2).astype(float), pairs_on((3, 4), beta, neighbours))
    result = smooth(joint, beta, neighbours=neighbours, method="graph_cut")
    assert result.objective[-1] == pytest.approx(best, abs=1e-4)


def test_a_grid_of_four_by_four_gets_the_best_of_all_labellings(rng):
    joint = rng.standard_normal((4, 4, 2)).astype(np.float32)
    pairs = pairs_on((4, 4), 0.5, 4)
    best = best_of_all(joint.reshape(-1, 2).astype(float), pairs)
    result = smooth(joint, 0.5, method="graph_cut")
    found = graphcut.log_probability(joint.reshape(-1, 2), pairs, result.labels.ravel())
    assert found == pytest.approx(best, abs=1e-5)
    assert result.converged


@settings(max_examples=25)
@given(
    seed=st.integers(0, 2**32 - 1),
    shape=st.sampled_from([(9, 11), (4, 5, 6)]),
    n_classes=st.integers(2, 4),
    beta=st.sampled_from([0.2, 0.7, 2.0]),
    masked=st.booleans(),
    edges=st.booleans(),
)
def test_a_cut_is_never_worse_than_the_other_methods(seed, shape, n_classes, beta, masked, edges):
    rng = np.random.default_rng(seed)
    joint = rng.standard_normal((*shape, n_classes)).astype(np.float32)
    settings = {
        "mask": rng.random(shape) < 0.8 if masked else None,
        "contrast": rng.random(shape) if edges else None,
    }
    cut = smooth(joint, beta, method="graph_cut", **settings)
    assert np.diff(cut.objective).min(initial=0) >= 0
    pairs, unary, used = problem_of(joint, beta, **settings)
    value = graphcut.log_probability(unary, pairs, cut.labels.ravel()[used])
    # The contrast image is brought to the range of 0 to 1 and rounded to float32, 6e-8 of it.
    assert value == pytest.approx(cut.objective[-1], abs=2e-7)
    for method in ("mean_field", "icm"):
        other = smooth(joint, beta, method=method, **settings)
        assert value >= graphcut.log_probability(unary, pairs, other.labels.ravel()[used])
    icm = smooth(joint, beta, method="icm", **settings)
    # The sweeps' own account of minus the energy is the same number, in single precision.
    value = graphcut.log_probability(unary, pairs, icm.labels.ravel()[used])
    assert value == pytest.approx(icm.objective[-1], abs=1e-5)


def problem_of(joint, beta, mask, contrast):
    """Pairs, unary terms and used sites, as the field has them."""
    from gmmseg.spatial.neighbours import pair_sharpness

    shape = joint.shape[:-1]
    hood = neighbourhood(shape)
    used = np.ones(shape, bool) if mask is None else mask
    image, sharpness = np.empty(0, np.float32), 0.0
    if contrast is not None:
        image = np.where(used, contrast, 0).astype(np.float32)
        sharpness = pair_sharpness(
            image.reshape(hood.shape), None if mask is None else mask.reshape(hood.shape)
        )
    used = used.ravel()
    strengths = (beta * hood.weights).astype(np.float32)
    pairs = graphcut.pairs_of(hood, strengths, used, image.ravel(), sharpness)
    return pairs, joint.reshape(len(used), -1)[used], used


def test_three_classes_come_near_the_best_of_all_labellings(rng):
    """Expansion moves are within twice the least cost in theory, and nearly always at it."""
    exact = 0
    for _ in range(10):
        joint = rng.standard_normal((3, 3, 3)).astype(np.float32)
        best = best_of_all(joint.reshape(-1, 3).astype(float), pairs_on((3, 3), 0.5, 4))
        result = smooth(joint, 0.5, method="graph_cut")
        assert result.objective[-1] <= best + 1e-5
        exact += result.objective[-1] >= best - 1e-5
    assert exact >= 8


def test_sites_settle_without_a_flow_only_where_they_would_with_one(rng, monkeypatch):
    """The same cut with and without the short way, which most sites of easy images take."""
    joint = (2 * rng.standard_normal((20, 20, 2))).astype(np.float32)
    short = smooth(joint, 0.4, method="graph_cut")

    def nothing(cost, source, target, rope, free):
        return ~free, free.copy()

    settled = graphcut._settle
    monkeypatch.setattr(graphcut, "_settle", nothing)
    long = smooth(joint, 0.4, method="graph_cut")
    assert long.objective[-1] == pytest.approx(short.objective[-1], abs=1e-6)
    np.testing.assert_array_equal(long.labels, short.labels)
    cost = np.where(np.arange(400) % 2, 5.0, -5.0).astype(np.int64)
    pairs = pairs_on((20, 20), 1.0, 4)
    rope = np.ones(len(pairs.first), np.int64)
    _, left = settled(cost, pairs.first, pairs.second, rope, np.ones(400, bool))
    assert not left.any()
